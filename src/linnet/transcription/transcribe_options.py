"""The keywords of `Recognizer.transcribe`, typed for completion and checking."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from linnet.decoding.options import DecodingOptions, Task
from linnet.transcription.options import LongForm


class TranscribeOptions(TypedDict, total=False):
    """Every keyword of `Recognizer.transcribe`; omitted ones have the default of `TranscriptionOptions`.

    `options` sets several at once, and single keywords override it. `temperature` is `temperatures` as the command line
    calls it. A test holds that names and types agree with `TranscriptionOptions`.
    """

    options: DecodingOptions | None
    channel: str  # mix, left, right, or a number from 0
    track: int | None  # audio track of a video, from 1
    sample_rate: int | None  # Hz, of arrays
    temperature: float | Iterable[float]
    language: str | None
    task: Task
    prompt: str | None
    hotwords: str | None
    timestamps: bool
    beam_size: int
    length_penalty: float
    max_new_tokens: int | None
    temperatures: float | Iterable[float]
    compression_ratio_threshold: float | None
    log_probability_threshold: float | None
    no_speech_threshold: float | None
    condition_on_previous: bool
    suppress_tokens: Iterable[int] | None
    begin_suppress_tokens: Iterable[int] | None
    max_initial_timestamp: float | None  # seconds
    seed: int
    long_form: LongForm | None
    vad: bool
    language_per_segment: bool
    word_timestamps: bool
