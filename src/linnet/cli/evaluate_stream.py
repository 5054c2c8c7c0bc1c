"""`linnet evaluate --streaming`: adapts streaming models to the evaluation of live recognition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from linnet.cli.options import ModelChoice, option
from linnet.errors import LinnetError, OptionError

if TYPE_CHECKING:
    from linnet.audio.types import Samples
    from linnet.data.manifest import WordTime
    from linnet.evaluation.streams.protocol import Update
    from linnet.evaluation.streams.system import StreamSystem
    from linnet.notices import Notify
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
        help="Score live recognition: play each recording to a stream on a simulated clock and report lags, prefix "
        "WER, erasure and computation per chunk. Lags need rows with the key words.",
    ),
]
Policy = Annotated[
    str | None,
    option(
        "--policy",
        verb="evaluate",
        metavar="NAME",
        help="When a streamed word becomes final: commit, hold-N, local-agreement-N, emit-all.",
    ),
]
Delay = Annotated[
    float | None,
    option(
        "--delay",
        verb="evaluate",
        metavar="S",
        help="Seconds of audio required after a streamed word before it is final.",
    ),
]
Step = Annotated[
    float | None,
    option("--step", verb="evaluate", metavar="S", help="Seconds of new audio between decodes of a stream."),
]
Chunk = Annotated[
    float | None,
    option("--chunk", verb="evaluate", metavar="S", help="Seconds of audio sent to a stream at a time. Default: 0.1."),
]
Block = Annotated[
    float | None,
    option("--block", verb="evaluate", metavar="S", help="Seconds of audio that a causal model encodes at a time."),
]
Align = Annotated[
    bool,
    option(
        "--align",
        verb="evaluate",
        help="With --streaming, take word times from the model's offline transcript if a row has no words.",
    ),
]


@dataclass(frozen=True)
class StreamRequest:
    """Command-line options of `--streaming`; None: the default."""

    streaming: bool
    policy: str | None
    delay: float | None
    step: float | None
    chunk: float | None
    block: float | None
    align: bool

    def check(self, *, hypotheses: str | None, model: str | None) -> None:
        """Raise `OptionError` for options that need `--streaming`, and for streaming of transcripts or a service."""
        from linnet.evaluation.providers import names_provider

        if self.streaming and model is not None and names_provider(model):
            raise OptionError(f"{model}: --streaming works with local models only; choose one of them")
        if self.streaming and hypotheses is not None:
            raise OptionError("--streaming plays recordings to a model, and --hypotheses scores texts: choose one")
        given = {"--policy": self.policy, "--delay": self.delay, "--step": self.step, "--chunk": self.chunk}
        given["--block"] = self.block
        named = [name for name, value in given.items() if value is not None] + ["--align"] * self.align
        if named and not self.streaming:
            verb = "needs" if len(named) == 1 else "need"
            raise OptionError(f"{', '.join(named)} {verb} --streaming: add it")

    def options(self, **shared: Any) -> StreamOptions:
        """Build the options of each stream; `shared` are those common to all recognition. Raises `OptionError`."""
        from linnet.streaming.options import StreamOptions

        own = {"policy": self.policy, "delay": self.delay, "step": self.step}
        return StreamOptions(**{name: value for name, value in {**own, **shared}.items() if value is not None})

    def system(self, choice: ModelChoice, options: StreamOptions, notify: Notify) -> StreamSystem:
        """The system under evaluation; the model is loaded when it is first needed."""
        from linnet.evaluation.streams.simulate import CHUNK
        from linnet.evaluation.streams.system import StreamChoice, StreamSystem

        live: list[LiveModel] = []

        def opened() -> LiveModel:
            live.append(LiveModel.load(choice, options, self.block, notify))
            return live[0]

        def align(samples: Samples, language: str | None) -> Sequence[WordTime]:
            return live[0].words(samples, language)

        seconds = CHUNK if self.chunk is None else self.chunk
        if not 0.001 <= seconds <= 30.0:
            raise OptionError(f"chunk must be from 0.001 to 30 seconds, got {seconds:g}")
        return StreamSystem(opened, StreamChoice(seconds, align if self.align else None))


@dataclass(frozen=True)
class LiveModel:
    """A streaming model as a `linnet.evaluation.streams.protocol.LiveSystem`."""

    name: str
    revision: str | None
    dtype: str
    device: str
    engine_name: str
    languages: tuple[str, ...]
    model: StreamingModel
    stream: StreamOptions
    recognizer: Recognizer | None = None  # transcribes recordings offline; None for a causal model

    @classmethod
    def load(cls, choice: ModelChoice, options: StreamOptions, block: float | None, notify: Notify) -> LiveModel:
        """Load a model. Raises `ModelError` if it cannot stream, `OptionError` for options that cannot be combined."""
        from linnet.models.checkpoint import fingerprint
        from linnet.streaming.causal_loading import causal_folder
        from linnet.streaming.models import streaming_model

        folder = None if choice.name is None else causal_folder(choice.name)
        if folder is None:
            return cls.of(choice.load(notify), options, block)
        model = streaming_model(choice.name, beam_size=options.beam_size, block=block, notify=notify, **choice.keywords)
        return cls(
            name=model.name,
            revision=fingerprint(folder),
            dtype=model.engine_name.rpartition(" ")[2],
            device="cuda" if "cuda" in model.engine_name else "cpu",
            engine_name=model.engine_name,
            languages=tuple(model.languages),
            model=model,
            stream=options,
        )

    @classmethod
    def of(cls, recognizer: Recognizer, options: StreamOptions, block: float | None = None) -> LiveModel:
        """Wrap a recognizer, by re-encoding. Raises `ModelError`, `OptionError`."""
        from linnet.streaming.models import streaming_model

        return cls(
            name=recognizer.name,
            revision=recognizer.revision,
            dtype=recognizer.dtype,
            device=recognizer.device,
            engine_name=recognizer.engine_name,
            languages=tuple(recognizer.languages),
            model=streaming_model(recognizer, beam_size=options.beam_size, block=block),
            stream=options,
            recognizer=recognizer,
        )

    @property
    def options(self) -> Mapping[str, Any]:
        """See `LiveSystem`."""
        block = getattr(self.model, "block", None)
        return asdict(self.stream) | ({} if block is None else {"block": block})

    def open(self, language: str | None) -> LiveSession:
        """See `LiveSystem`."""
        from linnet.streaming.session import StreamSession

        return LiveSession(StreamSession(self.model, replace(self.stream, language=language)))

    def words(self, samples: Samples, language: str | None) -> list[WordTime]:
        """Word times of an offline transcript. Raises `OptionError` for a causal model."""
        from linnet.data.manifest import WordTime

        if self.recognizer is None:
            raise OptionError(f"{self.name} has no offline transcript for --align: add words to the rows instead")
        found = self.recognizer.transcribe(samples, language=language, word_timestamps=True)
        return [WordTime(one.word, one.start, one.end) for one in found.words]


class LiveSession:
    """A streaming session as a `linnet.evaluation.streams.protocol.LiveStream`."""

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
        from linnet.evaluation.streams.protocol import Update
        from linnet.streaming import events as kinds

        finals = [event for event in events if isinstance(event, kinds.Final)]
        tail: tuple[str, ...] | None = () if any(final.words for final in finals) else None
        for event in events:
            if isinstance(event, kinds.Error):
                raise LinnetError(f"the stream ended: {event.message}")
            if isinstance(event, kinds.Partial):
                tail = tuple(word.word for word in event.words)
            elif isinstance(event, kinds.Stats):
                counted = {"decodes": event.decodes, "late_disagreements": event.late_disagreements}
                self._counters |= {name: value for name, value in counted.items() if value is not None}
            elif isinstance(event, kinds.Warning):
                name = f"{event.code}_warnings"
                self._counters[name] = self._counters.get(name, 0) + 1
            elif isinstance(event, kinds.Final) and event.last:
                tail = ()
        words = tuple(word.word for final in finals for word in final.words)
        return Update("".join(final.text for final in finals), words, tail)
