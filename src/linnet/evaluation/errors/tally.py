"""Counts in bounded memory."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Sample = TypeVar("Sample")


class Tally(Generic[Key, Sample]):
    """Counts of keys, with the first samples of each, for at most `capacity` keys.

    Beyond that the rarer half is dropped, as in lossy counting (Manku and Motwani 2002): every count is at most
    `missed` too small, and every key that occurred more than `missed` times is present.

    >>> tally = Tally[str, int](capacity=1000, samples=3)
    >>> for number, word in enumerate("a b a".split()):
    ...     tally.add(word, lambda: number)
    >>> tally.top(1)
    [('a', 2, [0, 2])]
    """

    def __init__(self, capacity: int, samples: int = 0) -> None:
        self.capacity = capacity
        self.missed = 0
        self._wanted = samples
        self._counts: dict[Key, int] = {}
        self._samples: dict[Key, list[Sample]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, key: Key) -> int:
        """The count of a key, 0 if unknown."""
        return self._counts.get(key, 0)

    def add(self, key: Key, sample: Callable[[], Sample] | None = None) -> None:
        """Count a key once; `sample` is called only while samples are still needed."""
        self._counts[key] = self._counts.get(key, 0) + 1
        if sample is not None:
            kept = self._samples.setdefault(key, [])
            if len(kept) < self._wanted:
                kept.append(sample())
        if len(self._counts) > self.capacity:
            self._trim()

    def add_all(self, keys: Iterable[Key]) -> None:
        """Count many keys."""
        counts = self._counts
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
        if len(counts) > self.capacity:
            self._trim()

    def top(self, count: int) -> list[tuple[Key, int, list[Sample]]]:
        """The keys with the largest counts, largest first, ties by name."""
        best = heapq.nsmallest(count, self._counts.items(), key=lambda item: (-item[1], str(item[0])))
        return [(key, number, self._samples.get(key, [])) for key, number in best]

    def _trim(self) -> None:
        cut = int(statistics.median_low(self._counts.values()))
        self.missed += cut
        self._counts = {key: count for key, count in self._counts.items() if count > cut}
        self._samples = {key: kept for key, kept in self._samples.items() if key in self._counts}
