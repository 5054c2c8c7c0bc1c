"""What streaming with a causal encoder asks of a runtime: each block encoded once, and decodes of rows of any length.

Shapes: T mel frames of a block, M mel bins, P encoder frames so far, N rows, L new tokens of the longest row,
S columns of the cache, V vocabulary, H chosen heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from linnet.arrays import Array

Bools = NDArray[np.bool_]


class EncoderMemory(Protocol):
    """What the encoder keeps of one segment: keys and values of all its frames, and what the next block reads."""

    frames: int  # encoded so far

    def mark(self, since: int | None = None) -> Any:
        """The state now, for `rewind`; frames from `since` on are copied, for they may be encoded again."""
        ...

    def rewind(self, mark: Any) -> None:
        """Forget the blocks that were encoded since the mark, and bring back the frames that it copied."""
        ...


class CausalEngine(Protocol):
    """Both halves of one causal model; holds no state of a segment.

    `memory` and `state` are always what the same engine gave, so they are typed loosely.
    """

    @property
    def name(self) -> str:
        """For reports: `torch cpu float32, causal`."""
        ...

    @property
    def most_frames(self) -> int:
        """How many encoder frames a segment can have."""
        ...

    def begin(self) -> Any:
        """The `EncoderMemory` of a new segment."""
        ...

    def encode(self, memory: Any, mel: Array) -> None:
        """Encode the next block of a segment from the mel frames [T, M] that are new to it.

        A block of n frames takes 2 n mel frames, the first block of a segment one more: the last of them is the one
        look-ahead frame. A block with one mel frame fewer is the end of the window, behind which the convolutions see
        zeros. Raises `ValueError` for no frame, another number of bins, or more frames than there is room for.
        """
        ...

    def start(self, memories: Sequence[Any]) -> Any:
        """A decoder state with one row for each segment, which must not grow meanwhile; its `columns` may be cut."""
        ...

    def feed(self, state: Any, tokens: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Array:
        """Feed each row its own tokens, as many as there are; returns float32 logits [K, V].

        `wanted` are for each row the indices into its tokens after which logits are asked for; the K results are in the
        order of rows and indices. The logits are the caller's, who may write into them.
        """
        ...

    def look(
        self, state: Any, row: int, places: Sequence[int], heads: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Cross-attention [H, L, P] of (layer, head) pairs in the steps that read these of a row's tokens."""
        ...


class Columns:
    """Which columns of a cache, shared by N rows of unequal length, belong to which row.

    All rows take the same new columns at each step, and those that a row does not need, or cuts off later, are hidden
    from it: its tokens are the visible ones, in order.
    """

    def __init__(self, rows: int, *, frees: bool = True) -> None:
        """`frees`: columns at the end that nobody needs any more are taken again."""
        self._visible: Bools = np.zeros((rows, 0), bool)
        self._frees = frees

    @property
    def count(self) -> int:
        """How many columns are in use."""
        return len(self._visible[0])

    @property
    def lengths(self) -> list[int]:
        """How many tokens each row has."""
        return [int(count) for count in self._visible.sum(1)]

    def of(self, row: int) -> NDArray[np.int64]:
        """The columns of a row's tokens."""
        return np.flatnonzero(self._visible[row])

    def add(self, counts: Sequence[int]) -> tuple[NDArray[np.int64], Bools | None]:
        """Take columns for so many new tokens of each row.

        Returns the tokens' positions [N, L] and what they must not look at [N, L, S], None where that is nothing.
        """
        rows, before = self._visible.shape
        longest = max(counts)
        positions = self._visible.sum(1)[:, None] + np.arange(longest)
        new = np.arange(longest) < np.asarray(counts)[:, None]
        later = np.triu(np.ones((longest, longest), bool), 1)
        hidden: Bools = np.empty((rows, longest, before + longest), bool)
        hidden[:, :, :before] = ~self._visible[:, None]
        hidden[:, :, before:] = later
        self._visible = np.concatenate([self._visible, new], 1)
        return positions, hidden if hidden.any() else None

    def cut(self, lengths: Sequence[int]) -> None:
        """Keep the first so many tokens of each row."""
        self._visible &= np.cumsum(self._visible, 1) <= np.asarray(lengths)[:, None]
        if not self._frees:
            return
        used = np.flatnonzero(self._visible.any(0))
        self._visible = self._visible[:, : used[-1] + 1 if len(used) else 0]
