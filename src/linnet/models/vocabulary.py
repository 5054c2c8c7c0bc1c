"""The special tokens of one Whisper-family model, and its text tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WhisperVocabulary:
    """Token ids as the model's tokenizer and generation config give them.

    `languages` maps codes (`en`) to token ids; it is empty for an English-only model, whose prompt then has neither a
    language nor a task token.
    """

    tokenizer: Any
    size: int
    start: int  # <|startoftranscript|>
    end: int  # <|endoftext|>
    no_timestamps: int
    no_speech: int | None
    start_of_previous: int | None
    languages: Mapping[str, int]
    tasks: Mapping[str, int]
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    max_initial_timestamp_index: int | None
    seconds_per_timestamp: float  # 0.02: the window's seconds / encoder positions

    @property
    def timestamp_begin(self) -> int:
        """The id of <|0.00|>."""
        return self.no_timestamps + 1

    def text(self, tokens: Sequence[int]) -> str:
        """The text of these tokens, without special and timestamp tokens, its leading space kept."""
        raise NotImplementedError
