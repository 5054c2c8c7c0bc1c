"""The interface between decoding and a runtime: encode windows once, then step tokens through the decoder.

Shapes: B windows, T mel frames, M mel bins, N hypothesis rows (B, or B x beams), L tokens, V vocabulary,
H chosen heads, P encoder frames (of 20 ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from linnet.arrays import Array
from linnet.audio.types import Samples


class EncoderOutput(Protocol):
    """Encoder results of B windows, including what the decoder computes from them once (cross-attention keys)."""

    @property
    def batch(self) -> int:
        """The number of windows."""
        ...

    def select(self, rows: Sequence[int]) -> Self:
        """The results of these windows only, in this order; repetitions are allowed."""
        ...


class State(Protocol):
    """The decoder state of N sequences: the self-attention keys and values of the tokens so far."""

    @property
    def length(self) -> int:
        """The number of tokens per row."""
        ...

    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i continue row `rows[i]`.

        The number of rows may change, with equally many adjacent rows per window: a prompt is fed once and then
        expanded to beams. Rows of different windows must not be mixed.
        """
        ...

    def keep(self, rows: Sequence[int]) -> bool:
        """Keep only these windows, in this order; the state has one row per window.

        Returns False, without any change, if that would cost more than it saves. Raises `ValueError` for a state with
        several rows per window, or without rows.
        """
        ...


class EncoderEngine(Protocol):
    """The encoder of one loaded model on one device."""

    @property
    def best_sound(self) -> int | None:
        """Mel frames of audio in a window with the least cost per second; None for a full window."""
        ...

    @property
    def name(self) -> str:
        """For reports: `torch cpu float32`."""
        ...

    def place(self, samples: Samples) -> Array:
        """Move samples to the engine's device, so that log-mel features are computed there."""
        ...

    def encode(self, features: Array, sound: Sequence[int] | None = None) -> EncoderOutput:
        """Encode log-mel features [B, T, M], float32, T at most the model's window.

        `sound`: the number of frames of each window that are not padding; an engine may condense the rest.
        """
        ...


class DecoderEngine(Protocol):
    """The decoder of one loaded model, without the state of a decode.

    `encoded` and `state` always come from the same engine, so they are typed loosely.
    """

    def start(self, encoded: Any, *, max_length: int) -> State:
        """A new decoder state with one row per window, for up to `max_length` tokens."""
        ...

    def step(self, state: Any, tokens: Array) -> Array:
        """Feed tokens [N, L] to the state; returns the float32 logits [N, V] after the last of them.

        The caller may modify the logits.
        """
        ...

    def align(self, encoded: Any, tokens: Array, heads: Sequence[tuple[int, int]]) -> Array:
        """Cross-attention probabilities [B, H, L, P], float32, of one teacher-forced pass.

        `tokens` [B, L] are whole sequences including the prefix, one per window, padded on the right with any token.
        `heads` are (decoder layer, head) pairs, in the order of the result; P is that of `encode`. Row i belongs to the
        step that reads token i and predicts token i + 1. Raises `ValueError` for another number of rows, no or too many
        tokens, no heads, or heads that the model lacks.
        """
        ...


class Engine(EncoderEngine, DecoderEngine, Protocol):
    """Both halves of one loaded model on one device."""
