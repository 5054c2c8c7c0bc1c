"""What a session needs from a model: hypotheses of a segment of speech that is still growing.

Two kinds of models implement it: any Whisper, which re-encodes the segment for each decode (`reencoding`), and a causal
one, which encodes each block once (`causal`).

Shapes: N samples of a segment, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from linnet.alignment.words import TimedWord
from linnet.audio.types import Samples
from linnet.streaming.options import CommitTiming


@dataclass(frozen=True)
class Hypothesis:
    """What a model recognizes in a segment after its final tokens.

    `words` cover `tokens` (text only, no timestamps) in order; their times are seconds from the segment's start, their
    `indices` count from the first of `tokens`, and their probability is the smallest of their tokens'. `ended`:
    the model emitted <|endoftext|>, so the last word is complete as far as the audio goes; otherwise the length limit
    or a guard stopped it, and the last word may be cut off.
    """

    tokens: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    words: tuple[TimedWord, ...]
    ended: bool
    no_speech_prob: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    language: str | None = None  # the segment's, given or detected
    until: float | None = None  # seconds of the segment that were encoded, if not all: a block may be incomplete


@dataclass(frozen=True)
class Query:
    """One decode requested by a session; queries of several sessions may share a batch.

    `memory` is the segment's state, created by `StreamingModel.begin` and extended by `add_audio`. `final`: the
    audio of the segment is complete, or speech has paused, so its tail may be padded and every word is needed.
    `length`: decode that many tokens, whatever the audio holds, to measure what speech costs; 0: until the model ends.
    """

    memory: Any
    committed: tuple[int, ...]  # final tokens of the segment, which the hypothesis continues
    final: bool = False
    length: int = 0


class StreamingModel(Protocol):
    """A model that serves streams. It is stateless; the state of each segment is in its memory."""

    name: str
    engine_name: str
    languages: tuple[str, ...]
    carries: bool  # whether a segment continues in the memory of the previous one for accuracy
    timing: CommitTiming  # how soon its words are final by default
    most_tokens: int  # final text tokens of a segment at which it should end

    def prompt(self, text: str) -> tuple[int, ...]:
        """Tokens of a text to condition on before a segment; empty if the model takes no prompt."""
        ...

    def begin(self, *, language: str | None, prompt: Sequence[int] = ()) -> Any:
        """Create the memory of a new segment; `prompt` holds tokens of the preceding text."""
        ...

    def add_audio(self, memory: Any, samples: Samples) -> None:
        """Append samples [N] at 16 kHz to a segment; a causal model encodes the blocks that they complete."""
        ...

    def forget(self, memory: Any, before: float, committed: tuple[int, ...]) -> Any | None:
        """Drop the audio before `before`, in seconds of the segment, and the tokens of its words, all `committed`.

        Returns the memory that continues from there, with these tokens as its prompt; None if the model cannot do so,
        and the session must start a new segment.
        """
        ...

    def encoded(self, memory: Any) -> float:
        """Seconds of the segment that a decode can use; a causal model waits for the end of a block."""
        ...

    def room(self, memory: Any) -> float:
        """Seconds of audio that still fit into the segment."""
        ...

    def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        """Decode segments of several sessions in one batch; returns one hypothesis each, in order."""
        ...
