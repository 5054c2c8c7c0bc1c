"""What every system that can be scored has in common, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from linnet.audio.types import Audio
from linnet.errors import LinnetError, OptionError
from linnet.text.language_codes import base_language
from linnet.transcription.transcript import Word


@dataclass(frozen=True)
class ProviderTranscript:
    """What a system heard in one recording. An empty `text` says that it heard no words; a failure is an error."""

    text: str  # as it was told, case and punctuation too
    language: str | None = None  # as the system names it, where it tells
    words: tuple[Word, ...] = ()  # where the system tells them without being asked
    seconds: float = 0.0  # of work; over the network also the way there and back, waits before a retry left out
    cached: bool = False  # an answer of an earlier run, `seconds` too


@dataclass(frozen=True)
class Identity:
    """Everything that an answer depends on besides the recording: equal identities may share answers."""

    kind: str  # the part of the name before the colon: deepgram, faster-whisper, ...
    model: str
    revision: str  # of the model and its library; of a service: of the request that Linnet makes
    device: str = "remote"  # cpu, cuda, or remote: someone else's machine
    dtype: str = "unknown"
    threads: int = 0  # that a model on this machine was given, for its times; 0: its library's own choice
    url: str | None = None  # of a service
    fields: Mapping[str, Any] = field(default_factory=dict)  # what is asked for besides the model

    @property
    def name(self) -> str:
        """As `open_provider` takes it, without the address."""
        return f"{self.kind}:{self.model}"


class Provider(Protocol):
    """A speech recognizer that is not Linnet's.

    A new one is a class with these members and a line in `providers.KINDS`. It is a context manager that closes itself.
    """

    @property
    def identity(self) -> Identity:
        """What it is."""
        ...

    @property
    def concurrency(self) -> int:
        """How many recordings it may be given at once, from threads; 1 for a model on this machine."""
        ...

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording.

        `language` is a code such as `en`, None: the system finds out. `prompt` is text that may help it. Raises
        `ProviderError` for every failure, `OptionError` where it takes no such language or prompt.
        """
        ...

    def close(self) -> None:
        """Give up what is under way and release what is held."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class ProviderOptions:
    """How a system is reached and asked. Seconds are those of the clock.

    `fields` go with every request as they are: form fields or query parameters of a service (`smart_format`), arguments
    of a library's own transcribe function (`beam_size`).
    """

    url: str | None = None  # of the service, where it is not the usual one
    key_variable: str | None = None  # the environment variable with the key, where it is not the usual one
    fields: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 300.0  # without a byte from the service, and for all of one recording's work there
    attempts: int = 6  # of one request that fails for a passing reason
    pause: float = 1.0  # before the second attempt, doubled each time; and between questions whether it is done
    concurrency: int = 4  # recordings at once, services only
    device: str = "auto"  # of a model on this machine: auto, cpu or cuda
    compute_type: str = "auto"  # of a model on this machine, by its library's names
    threads: int = 0  # of a model on this machine; 0: its library's own choice

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("concurrency", 1), ("timeout", 1e-3), ("pause", 0), ("threads", 0)):
            if not getattr(self, name) >= least:
                raise OptionError(f"{name}={getattr(self, name)!r}: expected a number from {least:g}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise OptionError(f"device={self.device!r}: expected auto, cpu or cuda")


class ProviderError(LinnetError, RuntimeError):
    """A system gave no transcript: `provider: problem: the answer's beginning; the way out`.

    `passing` failures may end by themselves and are tried again; `retry_after` are the seconds that the service asks
    for; `attempts` says how often it was tried.
    """

    def __init__(
        self,
        provider: str,
        problem: str,
        way_out: str,
        *,
        status: int | None = None,
        passing: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(provider, problem, way_out)
        self.provider = provider
        self.problem = problem
        self.way_out = way_out
        self.status = status
        self.passing = passing
        self.retry_after = retry_after
        self.attempts = 1

    def __str__(self) -> str:
        tried = f" (tried {self.attempts} times)" if self.attempts > 1 else ""
        return f"{self.provider}: {self.problem}{tried}; {self.way_out}"


class ProviderRefusal(ProviderError):  # noqa: N818 (a kind of error that reads better so)
    """A failure that every further recording would meet too: no key, a wrong one, no credit, no such model."""


def main_code(language: str | None) -> str | None:
    """The code without its region, which not every system knows.

    >>> main_code("en_GB")
    'en'
    """
    return None if language is None else base_language(language)
