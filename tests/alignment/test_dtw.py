"""The warping against every choice there is, and known answers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from linnet.alignment.attention import spread
from linnet.alignment.dtw import ATTENTION_WEIGHT, SHORTEST, TOUCH_COST, warp

Spans = list[tuple[int, int]]


def value(spans: Sequence[tuple[int, int]], mass: np.ndarray, score: np.ndarray, level: np.ndarray) -> float:
    """What a choice of spans gains, frame by frame, in float64."""
    total, owner = 0.0, [-1] * len(score)
    for word, (begin, end) in enumerate(spans):
        for frame in range(begin, end):
            owner[frame] = word
            total += ATTENTION_WEIGHT * mass[word, frame]
    total += sum(score[frame] if own >= 0 else -score[frame] for frame, own in enumerate(owner))
    for (_, end), (begin, _) in itertools.pairwise(spans):
        if end == begin:
            total -= TOUCH_COST + min(level[end - 1], level[end])
    return float(total)


def every_choice(count: int, frames: int, at: int = 0) -> list[Spans]:
    """All spans of `count` words from frame `at` on."""
    if not count:
        return [[]]
    found: list[Spans] = []
    for begin in range(at, frames):
        for end in range(begin + SHORTEST, frames + 1):
            found += [[(begin, end), *rest] for rest in every_choice(count - 1, frames, end)]
    return found


@pytest.mark.parametrize("seed", range(25))
def test_warping_finds_the_best_of_all_choices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, frames = int(rng.integers(1, 4)), int(rng.integers(9, 16))
    mass = rng.dirichlet(np.full(frames, 0.3), count) * 0.05
    score, level = rng.uniform(-1, 1, frames), rng.uniform(0, 2, frames)
    got = warp(mass, score, level)
    choices = every_choice(count, frames)
    assert got is not None
    assert got in choices
    assert value(got, mass, score, level) == pytest.approx(max(value(c, mass, score, level) for c in choices))


def test_words_that_do_not_fit_have_no_spans() -> None:
    level = np.zeros(8)
    assert warp(np.zeros((3, 8)), level, level) is None
    assert warp(np.zeros((1, 2)), np.zeros(2), np.zeros(2)) is None
    assert warp(np.zeros((0, 8)), level, level) == []
    assert warp(np.zeros((3, 9)), np.zeros(9), np.zeros(9)) == [(0, 3), (3, 6), (6, 9)]


def test_a_peak_within_each_sound_gives_the_sounds_edges() -> None:
    """Attention of one position somewhere in each word; silence before, between and after."""
    score = np.full(100, -1.0)
    score[10:30], score[40:60], score[60:90] = 1.0, 1.0, 1.0
    level = np.maximum(score, 0.0) * 5
    score[59:61] = level[59:61] = 0.2  # the dip where the second and third word touch
    looked = np.zeros((3, 50))
    looked[0, 9], looked[1, 21], looked[2, 36] = 1.0, 1.0, 1.0
    got = warp(spread(looked, 100), score, level)
    assert got is not None
    assert got[0] == (10, 30)
    assert got[1][0] == 40
    assert abs(got[1][1] - 60) <= 1
    assert got[2][0] - got[1][1] <= 1
    assert got[2][1] == 90


def test_a_word_does_not_stretch_over_sound_that_is_not_its_own() -> None:
    """Two seconds of music after a word: a word is no longer than its attention can reach."""
    score, level = np.full(300, -1.0), np.zeros(300)
    score[20:50] = score[60:280] = 1.0
    looked = np.zeros((1, 150))
    looked[0, 11] = 1.0
    ((begin, end),) = warp(spread(looked, 300), score, level) or []
    assert begin == 20
    assert end < 22 + 80 + 30
