"""Time divided among words."""

from __future__ import annotations

from linnet.alignment.words import interpolate


def test_time_is_divided_by_characters() -> None:
    assert interpolate([2, 2, 4], 0.0, 4.0) == [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0)]
    assert interpolate([0, 0], 1.0, 2.0) == [(1.0, 1.0), (1.0, 1.0)]
    assert interpolate([1, 4], 0.0, 3.4499999999999997)[-1][1] == 3.4499999999999997  # not one bit later
