"""What rows of attention say of words: sums written out, and known answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from linnet.alignment.attention import TRAIL, look, spread


def test_look_cuts_padding_and_takes_off_what_all_rows_look_at() -> None:
    rows = np.zeros((1, 6, 20))
    rows[..., 15:] = 0.1  # padding
    rows[..., 0] = 0.3  # a sink
    for word in range(6):
        rows[0, word, 2 * word + 1] = 0.2
    got = look(rows, [[word] for word in range(6)], 15)
    assert got.shape == (6, 15)
    assert got.argmax(1).tolist() == [1, 3, 5, 7, 9, 11]
    assert np.allclose(got[:, 0], 0.0)
    assert np.allclose(got.sum(1), 0.4)
    two = look(rows, [[0, 1], [2]], 15)  # too few rows to tell a sink from a word
    assert np.allclose(two.sum(1), 1.0)
    assert np.allclose(two[0, [1, 3]], 0.2)


@pytest.mark.parametrize(("frames", "lag"), [(30, 0), (30, 5), (31, 12), (9, 12), (30, -3), (5, -8)])
def test_spread_is_a_sum_over_places_each_earlier_by_the_lag(frames: int, lag: int) -> None:
    looked = np.random.default_rng(frames).dirichlet(np.ones((frames + max(lag, 0) + 1) // 2), 2)
    fading = [math.exp(-step / TRAIL) for step in range(round(8 * TRAIL))]
    expected = np.zeros((2, frames))
    for word, position, half in itertools.product(range(2), range(looked.shape[1]), (0, 1)):
        seen = 2 * position + half
        for step, share in enumerate(fading):
            at = max(seen - lag, 0) + step
            if seen - lag < frames and at < frames:
                expected[word, at] += looked[word, position] / 2 * share / sum(fading)
    assert np.allclose(spread(looked, frames, lag), expected)
