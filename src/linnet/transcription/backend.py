"""What a model family must offer for `Recognizer` to drive it over files, long audio and batches.

One recording is a job: a generator that yields the windows that can be recognized now and receives their results. It
yields a single window where the next one depends on its result, and several where they do not depend on one another. It
holds a bounded number of windows, so audio of any length runs at constant memory, and windows of one or of several
recordings share a batch.
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
    position: float = 0.0  # seconds of the recording that are done when this is asked
    vote: Any = None  # without a language, those of a batch with an equal vote speak the same one
    features: Array | None = None  # of the samples, where they were made beforehand
    needs_words: Callable[[Any], bool] | None = None  # whether word times of this result tell what its segments do not


@dataclass(frozen=True)
class Outcome:
    """What a job returns when its recording has ended. `notices` are full sentences that the user should read."""

    segments: tuple[Segment, ...]
    language: str | None = None
    language_probability: float | None = None
    language_probabilities: Mapping[str, float] | None = None
    counts: Counts | None = None
    notices: tuple[str, ...] = ()


Job = Generator[Sequence[Request], Sequence[Any], Outcome]  # each list of results is in the order of its requests


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

    @property
    def answer(self) -> type[Any]:
        """The dataclass of the results of `run`."""
        ...

    def job(self, source: AudioSource, options: TranscriptionOptions, *, ahead: int = 1) -> Job:
        """Recognize one recording, up to about `ahead` windows at once.

        Raises `OptionError` at once for options that this model cannot honor.
        """
        ...

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """Recognize windows of one group together; one result for each request, sent back into its job."""
        ...
