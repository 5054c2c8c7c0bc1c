"""What an evaluation needs of a system that recognizes live: the caller gives it, such as the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from linnet.audio.types import Samples


@dataclass(frozen=True)
class Update:
    """What changed on screen with one piece of audio.

    `text` became final, with its leading space, `final` are its words; `tail` are all words behind the final ones,
    which may still change, None where they are as before.
    """

    text: str = ""
    final: tuple[str, ...] = ()
    tail: tuple[str, ...] | None = None


class LiveStream(Protocol):
    """One stream, which holds its state and does its work within the calls."""

    def push(self, samples: Samples, behind: float) -> Update:
        """Take the next samples [N] at 16 kHz; `behind`: seconds since the last of them arrived.

        Raises `LinnetError` where the stream fails.
        """
        ...

    def finish(self) -> Update:
        """The end of the stream: everything becomes final."""
        ...

    @property
    def counters(self) -> Mapping[str, float]:
        """Numbers of the stream so far that add up over streams, such as decodes."""
        ...


class LiveSystem(Protocol):
    """A model that serves streams, with what names it in the results."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def revision(self) -> str | None:
        """Its revision."""
        ...

    @property
    def dtype(self) -> str:
        """Its precision."""
        ...

    @property
    def device(self) -> str:
        """The device it runs on."""
        ...

    @property
    def engine_name(self) -> str:
        """The engine it runs on."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes that it takes; empty if it takes none."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """How it recognizes: policy, delay and the like."""
        ...

    def open(self, language: str | None) -> LiveStream:
        """A new stream. Raises `OptionError` for a language that it cannot take."""
        ...
