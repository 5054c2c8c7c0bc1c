"""The interface of a model family for `Recognizer`: files, long audio and batches.

One recording is a job: a generator that yields the windows that can be recognized now and receives their results. It
yields a single window if the next one depends on its result, and several if they are independent. It holds a bounded
number of windows, so memory is constant for audio of any length, and windows of one or several recordings share a
batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from linnet.arrays import Array
from linnet.audio.source import AudioSource
from linnet.audio.types import Samples
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.transcript import Counts, Segment


@dataclass(frozen=True)
class Request:
    """One window to recognize. Requests with equal `group` may share a batch."""

    samples: Samples
    options: TranscriptionOptions
    group: Any = None
    prompt: tuple[int, ...] = ()
    language: str | None = None
    position: float = 0.0  # seconds of the recording that are done before this request
    vote: Any = None  # without a language, requests of a batch with an equal vote share one language
    features: Array | None = None  # of the samples, if computed in advance
    needs_words: Callable[[Any], bool] | None = None  # whether word times are needed to find missing words


@dataclass(frozen=True)
class Outcome:
    """What a job returns at the end of its recording. `notices` are full sentences for the user."""

    segments: tuple[Segment, ...]
    language: str | None = None
    language_probability: float | None = None
    language_probabilities: Mapping[str, float] | None = None
    counts: Counts | None = None
    notices: tuple[str, ...] = ()


Job = Generator[Sequence[Request], Sequence[Any], Outcome]  # results are in the order of their requests


class Backend(Protocol):
    """One loaded model of one family."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes for `language`; empty if the model does not take one."""
        ...

    @property
    def engine_name(self) -> str:
        """For reports: `torch cpu float32`."""
        ...

    @property
    def answer(self) -> type[Any]:
        """The dataclass of results of `run`."""
        ...

    def job(self, source: AudioSource, options: TranscriptionOptions, *, ahead: int = 1) -> Job:
        """Recognize one recording, up to about `ahead` windows at once.

        Raises `OptionError` immediately for options that the model does not support.
        """
        ...

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """Recognize windows of one group together; returns one result per request, which is sent back to its job."""
        ...
