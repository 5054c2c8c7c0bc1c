"""Words with times, and interpolation for words without times of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class TimedWord:
    """One word with the space before it; seconds from the window's start.

    `indices` are those of its tokens in the window. `interpolated`: the times are not from attention.
    """

    text: str
    start: float
    end: float
    probability: float | None
    interpolated: bool
    indices: tuple[int, ...]


def interpolate(weights: Sequence[float], start: float, end: float) -> list[tuple[float, float]]:
    """Divide the time from start to end among words in proportion to their weights (characters).

    >>> interpolate([1, 3], 1.0, 2.0)
    [(1.0, 1.25), (1.25, 2.0)]
    """
    total = sum(weights) or 1.0
    borders = np.interp(np.cumsum([0.0, *weights]), (0.0, total), (start, end))  # the last one ends exactly at `end`
    return list(pairwise(borders.tolist()))
