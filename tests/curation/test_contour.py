"""A copy has the contour of its original, whatever its level, beginning and noise; another recording has not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.curation.contour import BANDS, MOST_SHIFT, STEPS, contour, likeness
from linnet.curation.mfcc import analyze, find_speech
from linnet.curation.ragged import Ragged
from tests.support.syllables import speechlike


def contour_of(samples: np.ndarray) -> np.ndarray:
    spectrum = analyze(samples)
    return contour(spectrum.bands, find_speech(spectrum))


def alike(*contours: np.ndarray) -> float:
    """How alike two contours are."""
    return float(likeness(Ragged.from_lists(contours, np.uint32), np.array([0]), np.array([1]))[0])


def levels(found: np.ndarray) -> np.ndarray:
    return (found[:, None] >> (4 * np.arange(BANDS, dtype=np.uint32))) & 15


def by_hand(*contours: np.ndarray) -> float:
    """All shifts one by one, with silence of no level around."""
    one, other = (levels(found) - levels(found).mean(axis=0) for found in contours)
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    padded = np.pad(long, ((MOST_SHIFT, MOST_SHIFT + len(short)), (0, 0)))
    shifts = len(long) - len(short) + 2 * MOST_SHIFT + 1
    best = max(float((padded[at : at + len(short)] * short).sum()) for at in range(shifts))
    scale = float(np.linalg.norm(long) * np.linalg.norm(short))
    return best / scale if scale else 0.0


def test_a_contour_holds_eight_levels_of_two_decibels() -> None:
    bands = np.full((6, 40), 1.0, np.float32)
    bands[1] = 10**-0.6  # 6 dB below
    bands[2, :5] = 10**-9.0
    found = contour(bands, np.ones(6, bool))
    steps = levels(found)
    assert steps[0].tolist() == [STEPS] * BANDS
    assert steps[1].tolist() == [STEPS - 3] * BANDS
    assert steps[2].tolist() == [0] + [STEPS] * (BANDS - 1)
    assert len(contour(bands, np.zeros(6, bool))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_is_alike_and_another_take_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = speechlike(seed), speechlike(seed + 100)
    noise = rng.standard_normal(len(first) + 1000, dtype=np.float32) * float(np.std(first)) * 10 ** (-30 / 20)
    copy = 0.6 * np.concatenate([np.zeros(1000, np.float32), first]) + noise
    assert alike(contour_of(first), contour_of(copy.astype(np.float32))) > 0.9
    assert alike(contour_of(first), contour_of(second)) < 0.7


@given(st.lists(st.integers(1, 70), min_size=2, max_size=3), st.integers(0, 2**32 - 1))
def test_likeness_is_the_best_of_all_shifts(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    held = [rng.integers(0, STEPS + 1, (length, BANDS)) for length in lengths]
    contours = [(one << (4 * np.arange(BANDS))).sum(axis=1).astype(np.uint32) for one in held]
    pairs = np.array(list(itertools.product(range(len(held)), repeat=2)))
    found = likeness(Ragged.from_lists(contours, np.uint32), pairs[:, 0], pairs[:, 1])
    wanted = [by_hand(contours[one], contours[other]) for one, other in pairs.tolist()]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_nothing_is_like_nothing() -> None:
    empty, flat, real = np.zeros(0, np.uint32), np.full(4, 7, np.uint32), np.arange(4, dtype=np.uint32)
    for one, other in itertools.product((empty, flat), (empty, flat, real)):
        assert alike(one, other) == alike(other, one) == 0.0
    assert alike(real, real) == pytest.approx(1.0, abs=1e-6)
