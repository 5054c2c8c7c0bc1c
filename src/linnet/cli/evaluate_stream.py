"""`linnet evaluate --streaming`: a model's streams in the form that an evaluation plays recordings to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from linnet.cli.options import option
from linnet.errors import LinnetError, OptionError
from linnet.evaluation.streams.protocol import Update

if TYPE_CHECKING:
    from linnet.audio.types import Samples
    from linnet.data.manifest import WordTime
    from linnet.evaluation.streams.system import StreamSystem
    from linnet.streaming.events import Event
    from linnet.streaming.options import StreamOptions
    from linnet.streaming.protocol import StreamingModel
    from linnet.streaming.session import StreamSession
    from linnet.transcription.recognizer import Recognizer

Streaming = Annotated[
    bool,
    option(
        "--streaming",
        verb="evaluate",
        help="Score live recognition: play each recording to a stream by a simulated clock and add lags, prefix WER, "
        "erasure and the work for each chunk. Rows with the key words have lags.",
    ),
]
Policy = Annotated[
    str | None,
    option(
        "--policy",
        verb="evaluate",
        metavar="NAME",
        help="When a streamed word is final: commit, hold-N, local-agreement-N, emit-all.",
    ),
]
Delay = Annotated[
    float | None,
    option(
        "--delay",
        verb="evaluate",
        metavar="S",
        help="Seconds that must lie behind a streamed word before it can be final.",
    ),
]
Step = Annotated[
    float | None,
    option("--step", verb="evaluate", metavar="S", help="Seconds of new audio between two decodes of a stream."),
]
Chunk = Annotated[
    float | None,
    option(
        "--chunk", verb="evaluate", metavar="S", help="Seconds of audio that a stream is given at a time. Default: 0.1."
    ),
]
Align = Annotated[
    bool,
    option(
        "--align",
        verb="evaluate",
        help="Take word times from the model's own offline transcript where a row of --streaming has no words.",
    ),
]


@dataclass(frozen=True)
class StreamRequest:
    """What the command line asks of `--streaming`; None: the default."""

    streaming: bool
    policy: str | None
    delay: float | None
    step: float | None
    chunk: float | None
    align: bool

    def check(self, *, hypotheses: str | None, model: str | None) -> None:
        """Raise `OptionError` for choices of streams without a stream, or a stream of transcripts or a service."""
        from linnet.evaluation.providers import names_provider

        if self.streaming and model is not None and names_provider(model):
            raise OptionError(f"{model}: --streaming plays recordings to Linnet's own models; name one of them")
        if self.streaming and hypotheses is not None:
            raise OptionError("--streaming plays recordings to a model, and --hypotheses scores texts: choose one")
        given = {"--policy": self.policy, "--delay": self.delay, "--step": self.step, "--chunk": self.chunk}
        named = [name for name, value in given.items() if value is not None] + ["--align"] * self.align
        if named and not self.streaming:
            raise OptionError(f"{', '.join(named)} can be used with --streaming only: add it")

    def options(self, **shared: Any) -> StreamOptions:
        """Options of each stream; `shared` are those that other recognition has, too. Raises `OptionError`."""
        from linnet.streaming.options import StreamOptions

        own = {"policy": self.policy, "delay": self.delay, "step": self.step}
        return StreamOptions(**{name: value for name, value in {**own, **shared}.items() if value is not None})

    def system(self, load: Callable[[], Recognizer], options: StreamOptions) -> StreamSystem:
        """The system under evaluation; `load` is called when it is first needed."""
        from linnet.evaluation.streams.simulate import CHUNK
        from linnet.evaluation.streams.system import StreamChoice, StreamSystem

        live: list[LiveModel] = []

        def opened() -> LiveModel:
            live.append(LiveModel.of(load(), options))
            return live[0]

        def align(samples: Samples, language: str | None) -> Sequence[WordTime]:
            return live[0].words(samples, language)

        chunk = CHUNK if self.chunk is None else self.chunk
        if not 0.001 <= chunk <= 30.0:
            raise OptionError(f"chunk must be from 0.001 to 30 seconds, got {chunk:g}")
        return StreamSystem(opened, StreamChoice(chunk, align if self.align else None))


@dataclass(frozen=True)
class LiveModel:
    """A recognizer's model of streams, as `linnet.evaluation.streams.protocol.LiveSystem`."""

    recognizer: Any
    model: StreamingModel
    stream: StreamOptions

    @classmethod
    def of(cls, recognizer: Recognizer, options: StreamOptions) -> LiveModel:
        """Raises `ModelError` for a model that cannot serve streams."""
        from linnet.streaming.models import streaming_model

        return cls(recognizer, streaming_model(recognizer, beam_size=options.beam_size), options)

    @property
    def name(self) -> str:
        """See `LiveSystem`."""
        return str(self.recognizer.name)

    @property
    def revision(self) -> str | None:
        """See `LiveSystem`."""
        return None if self.recognizer.revision is None else str(self.recognizer.revision)

    @property
    def dtype(self) -> str:
        """See `LiveSystem`."""
        return str(self.recognizer.dtype)

    @property
    def device(self) -> str:
        """See `LiveSystem`."""
        return str(self.recognizer.device)

    @property
    def engine_name(self) -> str:
        """See `LiveSystem`."""
        return str(self.recognizer.engine_name)

    @property
    def languages(self) -> tuple[str, ...]:
        """See `LiveSystem`."""
        return tuple(self.recognizer.languages)

    @property
    def options(self) -> Mapping[str, Any]:
        """See `LiveSystem`."""
        return asdict(self.stream)

    def open(self, language: str | None) -> LiveSession:
        """See `LiveSystem`."""
        from linnet.streaming.session import StreamSession

        return LiveSession(StreamSession(self.model, replace(self.stream, language=language)))

    def words(self, samples: Samples, language: str | None) -> list[WordTime]:
        """The words of an offline transcript with their times."""
        from linnet.data.manifest import WordTime

        found = self.recognizer.transcribe(samples, language=language, word_timestamps=True)
        return [WordTime(one.word, one.start, one.end) for one in found.words]


class LiveSession:
    """A streaming session, as `linnet.evaluation.streams.protocol.LiveStream`."""

    def __init__(self, session: StreamSession) -> None:
        self._session = session
        self._counters: dict[str, float] = {}
        session.start()

    def push(self, samples: Samples, behind: float) -> Update:
        """See `LiveStream`."""
        return self._update(self._session.push(samples, behind=behind))

    def finish(self) -> Update:
        """See `LiveStream`."""
        return self._update(self._session.finish())

    @property
    def counters(self) -> Mapping[str, float]:
        """See `LiveStream`."""
        return self._counters

    def _update(self, events: Sequence[Event]) -> Update:
        from linnet.streaming import events as kinds

        finals = [event for event in events if isinstance(event, kinds.Final)]
        tail: tuple[str, ...] | None = () if any(final.words for final in finals) else None
        for event in events:
            if isinstance(event, kinds.Error):
                raise LinnetError(f"the stream ended: {event.message}")
            if isinstance(event, kinds.Partial):
                tail = tuple(word.word for word in event.words)
            elif isinstance(event, kinds.Stats):
                told = {"decodes": event.decodes, "late_disagreements": event.late_disagreements}
                self._counters |= {name: value for name, value in told.items() if value is not None}
            elif isinstance(event, kinds.Warning):
                name = f"{event.code}_warnings"
                self._counters[name] = self._counters.get(name, 0) + 1
            elif isinstance(event, kinds.Final) and event.last:
                tail = ()
        words = tuple(word.word for final in finals for word in final.words)
        return Update("".join(final.text for final in finals), words, tail)
