"""All options of transcribing a recording: how windows are decoded, and how a recording is split into windows and
words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Self

from linnet.decoding.options import FLAG, DecodingOptions
from linnet.errors import OptionError

LongForm = Literal["batched", "sequential"]

_FLAGS = ("condition_on_previous", "vad", "language_per_segment", "word_timestamps")


@dataclass(frozen=True)
class TranscriptionOptions(DecodingOptions):
    """Decoding options and options of the whole recording."""

    condition_on_previous: bool = False  # long audio: prompt each window with the text before it
    long_form: LongForm | None = None  # audio over one window; None: batched, or sequential with condition_on_previous
    vad: bool = True  # batched long-form transcribes only detected speech
    language_per_segment: bool = False  # detect the language of each window
    word_timestamps: bool = False  # start and end of each word, from the decoder's cross-attention

    def __post_init__(self) -> None:
        for name in _FLAGS:
            FLAG.check(name, getattr(self, name))
        super().__post_init__()
        if self.long_form not in (None, "batched", "sequential"):
            raise OptionError(f"long_form {self.long_form!r} is unknown: use batched or sequential")
        if self.condition_on_previous and self.long_form == "batched":
            raise OptionError("condition_on_previous needs windows in sequence: use long_form sequential")
        if self.language_per_segment and self.language is not None:
            raise OptionError("language_per_segment detects the language: give only one of the two")

    @classmethod
    def of(cls, options: DecodingOptions | None) -> Self:
        """These options as transcription options, with defaults for the rest."""
        if isinstance(options, cls):
            return options
        decoding = options or DecodingOptions()
        return cls(**{each.name: getattr(decoding, each.name) for each in fields(decoding)})
