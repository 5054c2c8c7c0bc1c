"""What a model family must offer for `Recognizer` to drive it over files, long audio and batches.

One recording is a job: a generator that yields the windows it wants recognised and receives their results. A job
decides where its next window starts only after it has seen the last result, so audio of any length runs at constant
memory, and windows of several recordings share one batch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from linnet.audio.source import AudioSource
from linnet.audio.types import Samples
from linnet.decoding.options import DecodingOptions
from linnet.transcription.transcript import Segment


@dataclass(frozen=True)
class Request:
    """One window to recognise. Requests with equal `group` may share a batch."""

    samples: Samples
    options: DecodingOptions
    group: Any = None
    prompt: tuple[int, ...] = ()
    language: str | None = None
    position: float = 0.0  # seconds of the recording that are done when this is asked


@dataclass(frozen=True)
class Outcome:
    """What a job returns when its recording has ended."""

    segments: tuple[Segment, ...]
    language: str | None = None
    language_probability: float | None = None


Job = Generator[Request, Any, Outcome]


class Backend(Protocol):
    """One loaded model of one family."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes that `language` may name; empty where the model does not take one."""
        ...

    @property
    def engine_name(self) -> str:
        """For reports: `torch cpu float32`."""
        ...

    def job(self, source: AudioSource, options: DecodingOptions) -> Job:
        """Recognise one recording. Raises `OptionError` at once for options that this model cannot honour."""
        ...

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """Recognise windows of one group together; one result for each request, sent back into its job."""
        ...
