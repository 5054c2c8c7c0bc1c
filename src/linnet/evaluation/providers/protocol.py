"""The interface of every system that can be scored, and its errors."""

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
    """The transcript of one recording; an empty `text` means that no words were recognized."""

    text: str  # as returned, with case and punctuation
    language: str | None = None  # as reported by the system
    words: tuple[Word, ...] = ()  # if the system returns them by default
    seconds: float = 0.0  # of computation; with a service, of the request without retries
    cached: bool = False  # from an earlier run, `seconds` too


@dataclass(frozen=True)
class Identity:
    """Everything that a response depends on besides the recording; equal identities share cached responses."""

    kind: str  # the part of the name before the colon: deepgram, faster-whisper, ...
    model: str
    revision: str  # of the model and its library, or of Linnet's request to a service
    device: str = "remote"  # cpu, cuda or remote
    dtype: str = "unknown"
    threads: int = 0  # of a local model; 0: its library's default
    url: str | None = None  # of a service
    fields: Mapping[str, Any] = field(default_factory=dict)  # of each request, besides the model

    @property
    def name(self) -> str:
        """As `open_provider` takes it, without the URL."""
        return f"{self.kind}:{self.model}"


class Provider(Protocol):
    """A speech recognizer other than Linnet; a context manager.

    To add one, write a class with these members and add a line to `providers.KINDS`.
    """

    @property
    def identity(self) -> Identity:
        """What its responses depend on."""
        ...

    @property
    def concurrency(self) -> int:
        """How many recordings it takes at once, from threads; 1 for a local model."""
        ...

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording.

        `language` is a code such as `en`; None lets the system detect it. Raises `ProviderError` for every failure,
        `OptionError` for an unsupported language or prompt.
        """
        ...

    def close(self) -> None:
        """Cancel what is running and release resources."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class ProviderOptions:
    """How a system is reached and called; times are wall-clock seconds.

    `fields` are added to every request: form fields or query parameters of a service (`smart_format`), arguments of a
    library's transcribe function (`beam_size`).
    """

    url: str | None = None  # of the service, if not the default
    key_variable: str | None = None  # the environment variable with the key, if not the default
    fields: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 300.0  # for a response, and for one whole transcription job
    attempts: int = 6  # per request that fails temporarily
    pause: float = 1.0  # before the second attempt, then doubled; also between polls
    concurrency: int = 4  # recordings at once (services)
    device: str = "auto"  # of a local model: auto, cpu or cuda
    compute_type: str = "auto"  # of a local model, by its library's names
    threads: int = 0  # of a local model; 0: its library's default

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("concurrency", 1), ("timeout", 1e-3), ("pause", 0), ("threads", 0)):
            if not getattr(self, name) >= least:
                raise OptionError(f"{name}={getattr(self, name)!r}: expected a number from {least:g}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise OptionError(f"device={self.device!r}: expected auto, cpu or cuda")


class ProviderError(LinnetError, RuntimeError):
    """A system returned no transcript: `provider: problem: start of the response; what to do`.

    Temporary (`passing`) failures are retried, after `retry_after` seconds if the service says so; `attempts` counts
    them.
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
    """A failure that affects every recording: a missing or wrong key, no credit, no such model."""


def main_code(language: str | None) -> str | None:
    """The language code without its region, which not every system takes.

    >>> main_code("en_GB")
    'en'
    """
    return None if language is None else base_language(language)
