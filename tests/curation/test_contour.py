"""A copy has the contour of its original, whatever its level, beginning and noise; another recording has not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.curation.contour import BANDS, MOST_SHIFT, STEPS, contour, levels, likeness
from linnet.curation.mfcc import analyze, find_speech
from tests.support.syllables import speechlike


def levels_of(samples: np.ndarray) -> np.ndarray:
    spectrum = analyze(samples)
    return levels(contour(spectrum.bands, find_speech(spectrum)))


def by_hand(one: np.ndarray, other: np.ndarray) -> float:
    """All shifts one by one, with silence of no level around."""
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    best = -np.inf
    for shift in range(-MOST_SHIFT, len(long) - len(short) + MOST_SHIFT + 1):
        total = sum(float(long[at + shift] @ short[at]) for at in range(len(short)) if 0 <= at + shift < len(long))
        best = max(best, total)
    return best / float(np.linalg.norm(long) * np.linalg.norm(short))


def test_a_contour_holds_eight_levels_of_two_decibels() -> None:
    bands = np.full((6, 40), 1.0, np.float32)
    bands[1] = 10**-0.6  # 6 dB below
    bands[2, :5] = 10**-9.0
    found = contour(bands, np.ones(6, bool))
    steps = (found[:, None] >> (4 * np.arange(BANDS))) & 15
    assert steps[0].tolist() == [STEPS] * BANDS
    assert steps[1].tolist() == [STEPS - 3] * BANDS
    assert steps[2].tolist() == [0] + [STEPS] * (BANDS - 1)
    assert np.allclose(levels(found), steps - steps.mean(axis=0))
    assert len(contour(bands, np.zeros(6, bool))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_is_alike_and_another_take_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = speechlike(seed), speechlike(seed + 100)
    noise = rng.standard_normal(len(first) + 1000, dtype=np.float32) * float(np.std(first)) * 10 ** (-30 / 20)
    copy = 0.6 * np.concatenate([np.zeros(1000, np.float32), first]) + noise
    assert likeness(levels_of(first), levels_of(copy.astype(np.float32))) > 0.9
    assert likeness(levels_of(first), levels_of(second)) < 0.7


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_likeness_is_the_best_of_all_shifts(first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.standard_normal((length, BANDS)).astype(np.float32) for length in (first, second))
    assert likeness(one, other) == pytest.approx(by_hand(one, other), abs=1e-4)
    assert likeness(one, one) == pytest.approx(1.0, abs=1e-4)


def test_nothing_is_like_nothing() -> None:
    empty, flat, real = (
        np.zeros((0, BANDS), np.float32),
        np.zeros((4, BANDS), np.float32),
        np.ones((4, BANDS), np.float32),
    )
    for one, other in itertools.product((empty, flat), (empty, flat, real)):
        assert likeness(one, other) == likeness(other, one) == 0.0
