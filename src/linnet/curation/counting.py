"""Counts within rows and over a corpus, as integers, so that the order of summation does not matter.

Shapes: N rows, V values in all, K distinct keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.ragged import Ragged

Integers = NDArray[np.int64]
Keys = NDArray[np.uint64]

_WORD = 64  # bits
_AT_LEAST = 1 << 18  # pending keys before summation


# --- within rows


@dataclass(frozen=True, eq=False)
class Grouped:
    """The distinct values of each row and their counts.

    `keys` and `counts` have an entry per distinct value of a row, in ascending order; `own` [V] is the count of each
    value in its row.
    """

    keys: Ragged
    counts: Ragged
    own: Integers


def group(values: Ragged, weights: NDArray[Any] | None = None) -> Grouped:
    """Count the values (non-negative integers) of each row, with integer weights [V].

    >>> Ragged.from_lists([[7, 3, 7], []], np.int64).lengths.tolist()
    [3, 0]
    >>> found = group(Ragged.from_lists([[7, 3, 7], []], np.int64))
    >>> found.keys[0].tolist(), found.counts[0].tolist(), found.own.tolist()
    ([3, 7], [1, 2], [2, 1, 2])
    """
    keys = values.values.astype(np.uint64)
    if not len(keys):
        empty = Ragged(np.zeros(0, np.int64), values.offsets)
        return Grouped(Ragged(keys, values.offsets), empty, np.zeros(0, np.int64))
    order = _order(values.rows, keys)
    ordered, rows = keys[order], values.rows  # rows keep their order
    first = np.ones(len(keys), np.bool_)
    first[1:] = (ordered[1:] != ordered[:-1]) | (rows[1:] != rows[:-1])
    starts = np.flatnonzero(first)
    mass = np.ones(len(keys), np.int64) if weights is None else np.asarray(weights, np.int64)[order]
    counts = np.add.reduceat(mass, starts)
    own = np.empty(len(keys), np.int64)
    own[order] = np.repeat(counts, np.diff(starts, append=len(keys)))
    lengths = np.bincount(rows[starts], minlength=len(values))
    return Grouped(Ragged.from_lengths(ordered[starts], lengths), Ragged.from_lengths(counts, lengths), own)


def _order(rows: Integers, keys: Keys) -> Integers:
    """The order by row and then by key. Sorting packed numbers is four times as fast as an argsort."""
    row_bits, key_bits = int(rows[-1]).bit_length(), int(keys.max()).bit_length()
    if row_bits + key_bits > _WORD:
        return np.lexsort((keys, rows))
    return _order_of((rows.astype(np.uint64) << np.uint64(min(key_bits, _WORD - 1))) | keys)


def _order_of(keys: Keys) -> Integers:
    index_bits = np.uint64(len(keys).bit_length())
    if not len(keys) or int(keys.max()).bit_length() + int(index_bits) > _WORD:
        return np.argsort(keys, kind="stable")
    packed = (keys << index_bits) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    return (packed & ((np.uint64(1) << index_bits) - np.uint64(1))).astype(np.int64)


# --- over a corpus


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of K keys: `keys` uint64 [K] ascending, `counts` int64 [K]."""

    keys: Keys
    counts: Integers

    @classmethod
    def of(cls, keys: NDArray[Any], weights: NDArray[Any] | None = None) -> Self:
        """Count keys [V] that may repeat, with weights [V].

        >>> Counts.of(np.array([5, 2, 5])).lookup(np.array([2, 3, 5])).tolist()
        [1, 0, 2]
        """
        keys = keys.astype(np.uint64)
        if weights is None:
            found, counts = np.unique(keys, return_counts=True)
            return cls(found, counts.astype(np.int64))
        order = _order_of(keys)
        return cls._summed(keys[order], np.asarray(weights, np.int64)[order])

    @classmethod
    def merge(cls, parts: Iterable[Counts]) -> Self:
        """The sum of the counts of all parts."""
        parts = list(parts)
        keys = np.concatenate([np.zeros(0, np.uint64), *(part.keys for part in parts)])
        counts = np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)])
        order = _order_of(keys)
        return cls._summed(keys[order], counts[order])

    @classmethod
    def _summed(cls, ordered: Keys, counts: Integers) -> Self:
        starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] + np.uint64(1)))
        return cls(ordered[starts], np.add.reduceat(counts, starts) if len(starts) else counts[:0])

    def lookup(self, keys: NDArray[Any]) -> Integers:
        """The counts of keys [V]; 0 for one that does not occur."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        keys = keys.astype(np.uint64, copy=False)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.counts[places], 0)

    def __len__(self) -> int:
        return len(self.keys)


_DENSE: Final = 1 << 23  # cells


@dataclass(frozen=True, eq=False)
class Table:
    """Counts by keys of several parts (`pack`), accessed by the parts: a dense table if it is small enough."""

    counts: Counts
    widths: tuple[int, ...]  # bits per part

    def get(self, *parts: NDArray[Any]) -> Integers:
        """The counts of keys, [V], given in parts [V] each; 0 for one that does not occur.

        >>> Table(Counts.of(pack((np.array([1, 1]), 12), (np.array([5, 5]), 16))), (12, 16)).get(
        ...     np.array([1, 1]), np.array([5, 9])
        ... ).tolist()
        [2, 0]
        """
        if self._cells is None or any(
            len(one) and one.max() >= size for one, size in zip(parts, self._sizes, strict=True)
        ):
            return self.counts.lookup(pack(*zip(parts, self.widths, strict=True)))
        return self._cells[self._index(parts)]

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        sizes, shift = [], 0
        for width in reversed(self.widths):
            part = (self.counts.keys >> np.uint64(shift)) & np.uint64((1 << width) - 1)
            sizes.append(int(part.max()) + 1 if len(part) else 1)
            shift += width
        return tuple(reversed(sizes))

    @cached_property
    def _cells(self) -> Integers | None:
        if prod(self._sizes) > _DENSE:
            return None
        cells, shift, parts = np.zeros(prod(self._sizes), np.int64), 0, []
        for width in reversed(self.widths):
            parts.append((self.counts.keys >> np.uint64(shift)) & np.uint64((1 << width) - 1))
            shift += width
        cells[self._index(parts[::-1])] = self.counts.counts
        return cells

    def _index(self, parts: Sequence[NDArray[Any]]) -> Integers:
        index = parts[0].astype(np.int64)
        for part, size in zip(parts[1:], self._sizes[1:], strict=True):
            index = index * size + part.astype(np.int64)
        return index


class Tally:
    """Growing counts: parts are collected until they are as many as the existing keys, so that the total cost is that
    of one sort.

    Two tallies with the same keys have equal counts, in any order and partition.
    """

    def __init__(self) -> None:
        self._sum = Counts(np.zeros(0, np.uint64), np.zeros(0, np.int64))
        self._waiting: list[Counts] = []
        self._size = 0

    def add(self, keys: NDArray[Any], weights: NDArray[Any] | None = None) -> None:
        """Count keys [V] with weights [V]."""
        self.merge(Counts.of(keys, weights))

    def merge(self, counts: Counts) -> None:
        """Add other counts."""
        self._waiting.append(counts)
        self._size += len(counts)
        if self._size > max(_AT_LEAST, len(self._sum)):
            self._add_up()

    def _add_up(self) -> None:
        self._sum = Counts.merge([self._sum, *self._waiting])
        self._waiting, self._size = [], 0

    @property
    def counts(self) -> Counts:
        """The total counts."""
        if self._waiting:
            self._add_up()
        return self._sum


# --- keys of several parts

GROUPS = 1 << 12  # maximum number of groups of rows (a language, or a language and phonemizer) in keys


def pack(*parts: tuple[NDArray[Any], int]) -> Keys:
    """One key [V] of several numbers, each with its width in bits, the first the most significant.

    >>> pack((np.array([1]), 12), (np.array([2]), 16)).tolist() == [(1 << 16) + 2]
    True
    """
    key = parts[0][0].astype(np.uint64)
    for numbers, bits in parts[1:]:
        key = (key << np.uint64(bits)) | numbers.astype(np.uint64)
    return key


def mix(keys: NDArray[Any], bits: int = _WORD) -> Keys:
    """Hash keys [V] to `bits` bits: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(_WORD - bits)
