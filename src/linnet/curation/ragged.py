"""Rows of unequal length in one flat array: words, phones and units of millions of recordings without loops.

Shapes: N rows, V values in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

_INT32 = 2**31  # limit of the offsets of Arrow's shorter lists


@dataclass(frozen=True, eq=False)
class Ragged:
    """N rows, row i being `values[offsets[i] : offsets[i + 1]]`; `values` [V] or [V, ...], `offsets` int64 [N + 1].

    The offsets go from 0 to V: every value belongs to a row.

    >>> rows = Ragged.from_lists([[1, 2, 3], [], [4]], np.uint16)
    >>> rows.lengths.tolist(), rows[0].tolist(), rows.sums().tolist()
    ([3, 0, 1], [1, 2, 3], [6, 0, 4])
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def from_lists(cls, lists: Sequence[Any], dtype: DTypeLike) -> Self:
        """From a list or array for each row, or None for an empty row."""
        arrays = [np.asarray([] if one is None else one, dtype) for one in lists]
        values = np.concatenate(arrays) if arrays else np.zeros(0, dtype)
        return cls.from_lengths(values, np.array([len(one) for one in arrays], np.int64))

    @classmethod
    def from_lengths(cls, values: NDArray[Any], lengths: NDArray[Any]) -> Self:
        """From the concatenated values of all rows and the lengths of the rows, [N]."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(values, offsets)

    @classmethod
    def from_arrow(cls, column: Any) -> Self:
        """From an Arrow list column, contiguous or chunked; a null is an empty row."""
        import pyarrow as pa

        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        return cls.from_lengths(column.flatten().to_numpy(zero_copy_only=False), lengths)

    def to_arrow(self) -> Any:
        """As an Arrow list array; a large list for 2**31 values or more."""
        import pyarrow as pa

        kind, offset = (pa.ListArray, np.int32) if len(self.values) < _INT32 else (pa.LargeListArray, np.int64)
        return kind.from_arrays(pa.array(self.offsets.astype(offset)), pa.array(self.values))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of values in each row, [N]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each value, [V]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def select(self, indices: NDArray[Any] | Sequence[int]) -> Self:
        """The rows with these indices (or where a mask [N] is true), in this order, with repetitions."""
        indices = np.asarray(indices)
        chosen = np.flatnonzero(indices) if indices.dtype == np.bool_ else indices.astype(np.int64)
        lengths = self.lengths[chosen]
        starts = np.cumsum(lengths) - lengths
        places = np.repeat(self.offsets[:-1][chosen] - starts, lengths) + np.arange(lengths.sum())
        return type(self).from_lengths(self.values[places], lengths)

    def replace(self, values: NDArray[Any]) -> Self:
        """The same rows with other values [V], such as a number for each."""
        return type(self)(values, self.offsets)

    def sums(self, weights: NDArray[Any] | None = None) -> NDArray[Any]:
        """The sum of each row, [N]: int64 for integers, else float64; of `values` times `weights` [V], if given.

        A row's sum depends only on its own values, exactly.
        """
        values = _widened(self.values)
        if weights is not None:
            values = values * _widened(np.asarray(weights))
        totals = np.zeros((len(self), *values.shape[1:]), values.dtype)
        filled = self.lengths > 0  # for an empty row, reduceat returns the following value
        if filled.any():
            totals[filled] = np.add.reduceat(values, self.offsets[:-1][filled], axis=0)
        return totals

    def pairs(self) -> Self:
        """Pairs of consecutive values in each row, [., 2]; a row of n values has n - 1 pairs, an empty one none.

        >>> Ragged.from_lists([[1, 2, 3], [4]], np.uint16).pairs().values.tolist()
        [[1, 2], [2, 3]]
        """
        lengths = np.maximum(self.lengths - 1, 0)
        starts = np.cumsum(lengths) - lengths
        first = np.repeat(self.offsets[:-1] - starts, lengths) + np.arange(lengths.sum())
        return type(self).from_lengths(np.stack([self.values[first], self.values[first + 1]], axis=1), lengths)

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged]) -> Self:
        """The rows of all parts, one part after another."""
        return cls.from_lengths(
            np.concatenate([part.values for part in parts]), np.concatenate([part.lengths for part in parts])
        )


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    """As int64 for integers, else as float64: sums of uint16 would overflow."""
    exact = np.issubdtype(values.dtype, np.integer) or values.dtype == np.bool_
    return values.astype(np.int64 if exact else np.float64, copy=False)
