"""Copies are found and one of each is kept; an evaluation set is kept out."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.curation.duplicates import (
    DuplicateOptions,
    NearSound,
    Pairs,
    SameSound,
    contour_pairs,
    near_pairs,
    text_keys,
)
from linnet.curation.leaks import Leak, LeakOptions, listen
from linnet.curation.ragged import Ragged
from linnet.data import Utterance
from tests.support.pools import pool_of
from tests.support.syllables import RATE, speechlike

ALL = np.ones


def sketches(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 2**32, size=(count, 64), dtype=np.uint32)


def copied(sketch: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A sketch that has a share of the values of another one."""
    return np.where(rng.random(64) < share, sketch, sketches(rng, 1)[0])


def test_of_equal_sounds_the_best_is_kept_and_of_equals_the_first() -> None:
    fits, noise = [0.5, 0.5, 0.9, 0.5, 0.01, 0.5], [10.0, 30.0, 20.0, 30.0, 40.0, 30.2]
    pool = pool_of(["one"] * 6, hashes=[7, 8, 7, 9, 7, 8], scores={"mi": fits}, snr_db=noise)
    verdict = SameSound().check(pool, ALL(6, bool))
    assert np.flatnonzero(verdict.failed).tolist() == [0, 4, 5]
    assert verdict.others is not None
    assert verdict.others[[0, 4, 5]].tolist() == [2, 2, 1]
    assert not SameSound().check(pool, np.zeros(6, bool)).failed.any()


def test_pairs_are_those_of_all_against_all() -> None:
    rng = np.random.default_rng(0)
    made = sketches(rng, 60)
    for at in range(0, 60, 3):
        made[at + 1] = copied(made[at], rng.choice([0.85, 0.3, 0.0]), rng)
    texts = [("one two", "one two", "three")[at % 3] if at < 30 else f"{at}" for at in range(60)]
    words = [[1, 2], [1, 2], [3]] * 10 + [[at] for at in range(30, 60)]
    pool = pool_of(texts, sketches=made, words=words)
    found = near_pairs(pool, ALL(60, bool), DuplicateOptions(near=0.6, near_same_text=0.1))
    alike = {(a, b): float((made[a] == made[b]).mean()) for a, b in itertools.combinations(range(60), 2)}
    expected = {pair for pair, share in alike.items() if share >= (0.1 if words[pair[0]] == words[pair[1]] else 0.6)}
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert found.alike.tolist() == [alike[pair] for pair in zip(found.first, found.second, strict=True)]


def test_a_recording_like_one_that_is_out_stays() -> None:
    """A is like B and B like C, but A is not like C: B goes alone."""
    rng = np.random.default_rng(1)
    middle, changed = sketches(rng, 1)[0], sketches(rng, 2)
    first = np.where(np.arange(64) < 40, middle, changed[0])
    last = np.where(np.arange(64) >= 24, middle, changed[1])
    pool = pool_of(["one", "two", "three"], sketches=np.stack([first, middle, last]))
    verdict = NearSound(DuplicateOptions(near=0.5)).check(pool, ALL(3, bool))
    assert verdict.failed.tolist() == [False, True, False]
    assert verdict.values[1] == pytest.approx(40 / 64)


def test_a_crowd_of_one_sound_leaves_one() -> None:
    pool = pool_of(["one"] * 300, sketches=np.tile(sketches(np.random.default_rng(2), 1), (300, 1)))
    assert NearSound().check(pool, ALL(300, bool)).failed.sum() == 299


def test_text_keys_tell_order_and_number() -> None:
    keys = text_keys(Ragged.from_lists([[1, 2], [2, 1], [1, 2], [], [1], [1, 0]], np.uint32))
    assert keys[0] == keys[2]
    assert len(set(keys.tolist())) == 5


def test_an_evaluation_set_is_kept_out() -> None:
    rng = np.random.default_rng(3)
    made = sketches(rng, 8)
    long = "nine eight seven six five four three two one"
    held = pool_of(["one two", long], hashes=[100, 101], sketches=made[:2])
    near = copied(made[0], 0.9, rng)
    pool = pool_of(
        ["one two", "five", "five six", long],
        hashes=[100, 7, 8, 9],
        sketches=np.stack([made[4], made[5], near, made[7]]),
    )
    verdict = Leak(held).check(pool, ALL(4, bool))
    assert verdict.failed.tolist() == [True, False, True, False]
    assert verdict.others is not None
    assert verdict.others.tolist() == [0, -1, 0, -1]
    assert Leak(held, LeakOptions(texts="near")).check(pool, ALL(4, bool)).failed.tolist() == [True, False, True, True]
    assert Leak(held, hear=lambda row, other: False).check(pool, ALL(4, bool)).failed.tolist() == [True] + [False] * 3
    empty = pool_of([])
    assert not Leak(empty).check(pool, ALL(4, bool)).failed.any()


def test_what_looks_alike_can_be_heard_again(tmp_path: Path) -> None:
    for name, seed, gain in (("a", 1, 1.0), ("quiet", 1, 0.1), ("b", 2, 1.0)):
        soundfile.write(tmp_path / f"{name}.wav", gain * speechlike(seed, 2.0), RATE)
    one, quiet, other = (Utterance(str(tmp_path / f"{name}.wav")) for name in ("a", "quiet", "b"))
    hear = listen([quiet, other, Utterance("missing.wav")].__getitem__, [one].__getitem__)
    assert [hear(row, 0) for row in range(3)] == [True, False, True]


def contour_of(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Any levels from 0 to 10 in eight bands."""
    steps = rng.integers(0, 11, size=(frames, 8)).astype(np.uint32)
    return (steps << (4 * np.arange(8)).astype(np.uint32)).sum(axis=1, dtype=np.uint32)


def test_a_copy_that_begins_elsewhere_is_found_by_its_contour() -> None:
    rng = np.random.default_rng(5)
    first, other = contour_of(rng, 80), contour_of(rng, 80)
    shifted = np.concatenate([np.zeros(4, np.uint32), first])
    pool = pool_of(["one two"] * 3 + ["six"], words=[[1, 2]] * 3 + [[6]], contours=[first, other, shifted, first])
    verdict = NearSound().check(pool, ALL(4, bool))
    assert verdict.failed.tolist() == [False, False, True, False]  # another text is not compared
    assert verdict.others is not None
    assert verdict.others[2] == 0
    assert verdict.values[2] > 0.9 > verdict.values[1]
    assert verdict.values[0] == verdict.values[2]
    assert np.isnan(verdict.values[3])
    off = NearSound(DuplicateOptions(near_contour=None)).check(pool, ALL(4, bool))
    assert not off.failed.any()
    assert np.isnan(off.values).all()


@pytest.mark.parametrize(("frames", "least"), [(75, 0.9), (300, 0.9), (27, 0.94), (12, 0.96)])
def test_of_short_recordings_more_likeness_is_asked(frames: int, least: float) -> None:
    rng = np.random.default_rng(8)
    pool = pool_of(["one"] * 2, words=[[1]] * 2, contours=[contour_of(rng, frames)] * 2)
    failing = []
    for alike in (least - 0.001, least + 0.001):
        pairs = Pairs(np.array([0]), np.array([1]), np.array([alike]))
        failing.append(len(near_pairs(pool, ALL(2, bool), contours=pairs)))
    assert failing == [0, 1]


def test_what_is_much_longer_is_not_compared_and_crowds_are_compared_by_length() -> None:
    rng = np.random.default_rng(6)
    contours = [contour_of(rng, 40 + at) for at in range(80)]
    pool = pool_of(["one"] * 81, words=[[1]] * 81, contours=[*contours, contour_of(rng, 400)])
    found = contour_pairs(pool, ALL(81, bool))
    gaps = found.second - found.first
    assert gaps.min() == 1
    assert gaps.max() == 16
    assert 80 not in found.second
    few = contour_pairs(pool, np.arange(81) < 10)
    expected = [(a, b) for a in range(10) for b in range(a + 1, 10) if (40 + b) <= (40 + a) * 4 / 3]
    assert sorted(zip(few.first.tolist(), few.second.tolist(), strict=True)) == expected
