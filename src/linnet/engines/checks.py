"""Argument checks shared by all engines.

Shapes: B windows, T mel frames, M mel bins, N hypothesis rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linnet.arrays import Array


class CheckedState(Protocol):
    """The part of a decoder state that is checked here."""

    max_length: int
    length: int

    @property
    def rows(self) -> int:
        """The number of rows."""
        ...


def check_features(features: Array, frames: int, mel_bins: int) -> None:
    """Raise `ValueError` unless the features are [B, T, M] with T from 1 to `frames` and M = `mel_bins`."""
    if features.ndim != 3 or features.shape[2] != mel_bins or not 1 <= features.shape[1] <= frames:
        expected = f"[windows, 1 to {frames} frames, {mel_bins} mel_bins]"
        raise ValueError(f"expected log-mel features {expected}, got {list(features.shape)}")


def check_max_length(max_length: int, limit: int) -> None:
    """Raise `ValueError` unless a state can be started for this many tokens."""
    if not 1 <= max_length <= limit:
        raise ValueError(f"max_length must be from 1 to the model's {limit} tokens, got {max_length}")


def check_tokens(state: CheckedState, tokens: Array) -> None:
    """Raise `ValueError` unless tokens [N, L] can be fed to the state."""
    rows, length = tokens.shape
    if rows != state.rows:
        raise ValueError(f"the state holds {state.rows} rows, got tokens for {rows}")
    if not length:
        raise ValueError("expected at least one token for each row, got none")
    if state.length + length > state.max_length:
        raise ValueError(f"the state was started for {state.max_length} tokens, got {state.length + length}")


def check_spread(rows: Sequence[int], windows: int) -> None:
    """Raise `ValueError` unless all windows have the same number of rows."""
    if len(rows) % windows:
        raise ValueError(f"{len(rows)} rows do not spread evenly over {windows} windows")


def check_kept(rows: Sequence[int], held: int, windows: int) -> None:
    """Raise `ValueError` unless `rows` are among the `held` rows of a state with one row per window."""
    if held != windows:
        raise ValueError(f"windows can be removed only if each has one row, got {held} rows for {windows} windows")
    if not rows or any(not 0 <= row < held for row in rows):
        raise ValueError(f"rows to keep must be at least one of 0 to {held - 1}, got {list(rows)}")


def check_heads(heads: Sequence[tuple[int, int]], known: tuple[int, int]) -> None:
    """Raise `ValueError` unless heads are (layer, head) pairs below `known`."""
    if not heads or any(not (0 <= layer < known[0] and 0 <= head < known[1]) for layer, head in heads):
        raise ValueError(f"heads must be (layer, head) pairs below {known}, at least one, got {list(heads)}")
