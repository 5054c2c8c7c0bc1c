"""Time two ways of doing the same in turn, so that other load affects both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class PairedTimes:
    """Seconds of each round of both, without the warm-up round."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        """Median seconds of each."""
        return statistics.median(self.first), statistics.median(self.second)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratio first / second of each round."""
        return tuple(a / b for a, b in zip(self.first, self.second, strict=True))

    @property
    def speedup(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)


def time_in_turn(first: Callable[[int], object], second: Callable[[int], object], rounds: int) -> PairedTimes:
    """Call both with the number of each round, from 0, in alternating order; round 0 is repeated first as warm-up.

    >>> calls = []
    >>> times = time_in_turn(lambda n: calls.append(f"a{n}"), lambda n: calls.append(f"b{n}"), 2)
    >>> calls, len(times.ratios)
    (['b0', 'a0', 'a0', 'b0', 'b1', 'a1'], 2)
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        pair = [(first, times[0]), (second, times[1])]
        for run, kept in pair if turn % 2 else reversed(pair):
            begun = time.perf_counter()
            run(max(turn - 1, 0))
            kept.append(time.perf_counter() - begun)
    return PairedTimes(tuple(times[0][1:]), tuple(times[1][1:]))
