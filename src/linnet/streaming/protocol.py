"""What a session asks of a model: the words of a stretch of speech that still grows.

Two kinds of models answer: any Whisper, which encodes the stretch again each time (`reencoding`), and a causal one,
which encodes each block once (`causal`).

Shapes: N samples of a segment, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from linnet.alignment.words import TimedWord
from linnet.audio.types import Samples


@dataclass(frozen=True)
class Hypothesis:
    """What a model hears in a segment after the tokens that are final.

    `words` cover `tokens` (text only, no timestamps) in order; their times are seconds from the segment's start, their
    `indices` count from the first of `tokens`, and their probability is the smallest of their tokens' here. `ended`:
    the model wrote <|endoftext|>, so the last word is complete as far as the audio goes; else the length limit or a
    guard stopped it, and the last word may be cut.
    """

    tokens: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    words: tuple[TimedWord, ...]
    ended: bool
    no_speech_prob: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    language: str | None = None  # the segment's, given or detected
    until: float | None = None  # seconds of the segment that were heard, where that is not all: blocks may be open


@dataclass(frozen=True)
class Query:
    """One decode that a session asks for; queries of several sessions may share a batch.

    `memory` is the segment's, as `StreamingModel.begin` made it and `hear` filled it. `final`: the audio of the segment
    is complete, or speech has paused, so its tail may be padded and every word is wanted.
    """

    memory: Any
    committed: tuple[int, ...]  # the segment's tokens that are final, which the hypothesis continues
    final: bool = False


class StreamingModel(Protocol):
    """A model that serves streams. It holds no state of a session; each segment's lies in its memory."""

    name: str
    engine_name: str
    languages: tuple[str, ...]
    carries: bool  # whether a segment is heard better in the memory of the one before; else each begins a new one

    def prompt(self, text: str) -> tuple[int, ...]:
        """The tokens of a text that is taken to precede a segment; empty where the model takes none."""
        ...

    def begin(self, *, language: str | None, prompt: Sequence[int] = ()) -> Any:
        """The memory of a new segment; `prompt` are tokens of the text before it."""
        ...

    def hear(self, memory: Any, samples: Samples) -> None:
        """Add samples [N] at 16 kHz to a segment; a causal model encodes the blocks that they complete."""
        ...

    def forget(self, memory: Any, before: float, committed: tuple[int, ...]) -> Any | None:
        """Drop the audio before a time, in seconds of the segment, and the tokens of its words, all `committed`.

        Returns the memory that goes on from there, with these tokens as its prompt; None where the model cannot, so
        that the session starts a segment.
        """
        ...

    def room(self, memory: Any) -> float:
        """Seconds of audio that the segment can still take."""
        ...

    def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        """Decode segments of several sessions together; one hypothesis for each, in order."""
        ...
