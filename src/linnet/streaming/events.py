"""The events of a streaming session.

Their contract, verified by property tests:

(a) the words of `Final` events never change and are never repeated; later ones follow them;
(b) the texts of all finals, joined, are the transcript;
(c) `seq` strictly increases within a session;
(d) every flush is answered by exactly one `Flushed`, every stop by exactly one `Bye`, which is the last event;
(e) `Bye.time` is the length of the audio that the session took;
(f) a `Partial` replaces the partial before it, so that any of them may be missed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from linnet.transcription.transcript import Word

Reason = Literal["stable", "endpoint", "flush", "cap", "stop"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; `time` is the seconds of audio processed by then."""

    type: ClassVar[str] = "event"
    seq: int
    time: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, `type` first."""
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Ready(Event):
    """The first event: model, engine and policy of the session."""

    type: ClassVar[str] = "ready"
    model: str
    engine: str
    policy: str
    language: str | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Partial(Event):
    """All recognized text that is not final: `stable`, which will be final next, and `volatile`.

    Texts keep their leading space. `segment` counts segments of speech from 0; `lag` is the seconds of received audio
    not processed yet.
    """

    type: ClassVar[str] = "partial"
    segment: int
    stable: str
    volatile: str
    words: tuple[Word, ...] = ()  # of both, with preliminary times
    lag: float = 0.0

    @property
    def text(self) -> str:
        """Both, to be displayed after the final text."""
        return self.stable + self.volatile


@dataclass(frozen=True, kw_only=True)
class Final(Event):
    """Words that will not change; word times are seconds of the stream.

    `reason`: `stable` by the policy, or forced by an `endpoint` of speech, a `flush`, the maximum segment length
    (`cap`) or the end of the stream (`stop`). `last`: no further final belongs to this segment.
    """

    type: ClassVar[str] = "final"
    segment: int
    text: str  # with its leading space, so that all final texts can be concatenated
    words: tuple[Word, ...]
    reason: Reason
    last: bool = False


@dataclass(frozen=True, kw_only=True)
class Vad(Event):
    """Speech begins or ends at `at` seconds of the stream, which is before `time`."""

    type: ClassVar[str] = "vad"
    speaking: bool
    at: float


@dataclass(frozen=True, kw_only=True)
class Flushed(Event):
    """A flush is complete: all words of the audio before it are final."""

    type: ClassVar[str] = "flushed"


@dataclass(frozen=True, kw_only=True)
class Stats(Event):
    """How the session keeps up; emitted periodically and before `Bye`."""

    type: ClassVar[str] = "stats"
    decodes: int
    compute: float  # seconds of computation so far
    lag: float  # seconds behind
    finals: int  # words
    late_disagreements: int | None = None  # words that a later decode would have changed; None: not measured


@dataclass(frozen=True, kw_only=True)
class Warning(Event):  # noqa: A001 - the protocol's own word
    """A problem that does not end the stream: lag, invalid samples, repeated text."""

    type: ClassVar[str] = "warning"
    code: str  # lag, samples, loop, clock, queue
    message: str


@dataclass(frozen=True, kw_only=True)
class Error(Event):
    """The failure that ended the session; earlier finals stay valid. A `Bye` follows."""

    type: ClassVar[str] = "error"
    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Bye(Event):
    """The last event: seconds of audio (`time`) and number of final words."""

    type: ClassVar[str] = "bye"
    words: int
