"""What decoding asks of a runtime: encode windows once, then step tokens through the decoder.

Shapes: B windows, T mel frames, M mel bins, N hypothesis rows (B, or B x beams), L tokens, V vocabulary,
H chosen heads, P encoder frames (of 20 ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from linnet.arrays import Array
from linnet.audio.types import Samples


class EncoderOutput(Protocol):
    """Encoder results of B windows, with whatever the decoder computes from them once (cross-attention keys)."""

    @property
    def batch(self) -> int:
        """How many windows are held."""
        ...

    def select(self, rows: Sequence[int]) -> Self:
        """The same results for these windows only, in this order, repeats allowed."""
        ...


class State(Protocol):
    """A decoder in the middle of N sequences: the self-attention keys and values of the tokens so far."""

    @property
    def length(self) -> int:
        """How many tokens each row holds."""
        ...

    def reorder(self, rows: Sequence[int]) -> None:
        """Make row i continue what row `rows[i]` held.

        `rows` may be longer or shorter than before, with equally many adjacent rows for each window: so a prompt is fed
        once and then spread over beams. Rows of another window must not be mixed.
        """
        ...

    def keep(self, rows: Sequence[int]) -> bool:
        """Go on with these windows only, in this order, in a state that has one row for each window.

        False, and nothing has changed, where that would cost more than it saves. Raises `ValueError` for a state with
        more rows for a window, or without rows.
        """
        ...


class EncoderEngine(Protocol):
    """The encoder of one loaded model on one device."""

    @property
    def best_sound(self) -> int | None:
        """Mel frames of sound in a window that costs least by the second; None where that is a full window."""
        ...

    @property
    def name(self) -> str:
        """For reports: `torch cpu float32`."""
        ...

    def place(self, samples: Samples) -> Array:
        """Samples where the engine has its numbers, so that log-mel features are made there."""
        ...

    def encode(self, features: Array, sound: Sequence[int] | None = None) -> EncoderOutput:
        """Encode log-mel features [B, T, M], float32, T at most the model's window.

        `sound`: how many frames of each window are not padding, of which an engine may make less work.
        """
        ...


class DecoderEngine(Protocol):
    """The decoder of one loaded model; holds no state of a running decode.

    `encoded` and `state` are always what the same engine gave, so they are typed loosely.
    """

    def start(self, encoded: Any, *, max_length: int) -> State:
        """A decoder state with one row for each window, for up to `max_length` tokens."""
        ...

    def step(self, state: Any, tokens: Array) -> Array:
        """Feed tokens [N, L] to the state; returns the float32 logits [N, V] after the last of them.

        The logits are the caller's, who may write into them.
        """
        ...

    def align(self, encoded: Any, tokens: Array, heads: Sequence[tuple[int, int]]) -> Array:
        """Where the decoder looks: cross-attention probabilities [B, H, L, P], float32, of one teacher-forced pass.

        `tokens` [B, L] are whole sequences, prefix first, one for each window; shorter ones are filled up on the right
        with any token, which changes nothing before it. `heads` are (decoder layer, head) pairs, in the order of the
        result; P is that of `encode`. Row i is of the step that reads token i, and so writes token i + 1.
        Raises `ValueError` for another number of rows, no or too many tokens, no heads, or heads that the model lacks.
        """
        ...


class Engine(EncoderEngine, DecoderEngine, Protocol):
    """Both halves of one loaded model on one device."""
