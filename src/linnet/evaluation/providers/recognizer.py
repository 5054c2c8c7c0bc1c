"""A provider in the place of a `Recognizer`, so that an evaluation runs it by the same code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from linnet.audio import Audio, load
from linnet.audio.source import is_source
from linnet.decoding.options import DecodingOptions
from linnet.evaluation.providers.many import ProviderReply, ProviderRequest, transcribe_all
from linnet.evaluation.providers.protocol import Provider
from linnet.transcription.schedule import Progress, Result
from linnet.transcription.transcript import Segment, Transcript

_EVERYTHING = 2**62  # samples


class ProviderRecognizer:
    """What `evaluate_rows` needs of a recognizer, done by a provider.

    Of the decoding options only the language and the prompt are passed on. A recording that fails is a result with its
    error; what every further one would meet is raised (see `transcribe_all`).
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    @property
    def name(self) -> str:
        """As `open_provider` takes it."""
        return self.provider.identity.name

    @property
    def revision(self) -> str:
        """Of the model and its library, or of the request; with the address and the fields where there are any."""
        identity = self.provider.identity
        told = [identity.revision, *([identity.url] if identity.url else [])]
        return ", ".join([*told, *(f"{key}={value}" for key, value in sorted(identity.fields.items()))])

    @property
    def dtype(self) -> str:
        """The precision, where it is known."""
        return self.provider.identity.dtype

    @property
    def device(self) -> str:
        """`cpu`, `cuda`, or `remote`."""
        return self.provider.identity.device

    @property
    def engine_name(self) -> str:
        """The kind of provider."""
        return self.provider.identity.kind

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes that Whisper knows: which ones a system takes, it tells only when it is asked."""
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        return tuple(LANGUAGES)

    def transcribe_many(
        self,
        sources: Iterable[Any],
        *,
        options: DecodingOptions | None = None,
        batch_size: int = 1,  # noqa: ARG002 (part of the protocol)
        channel: str = "mix",
        in_order: bool = True,  # noqa: ARG002 (they always are)
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the sources; several at once as the provider allows, `batch_size` has no meaning."""
        options = options or DecodingOptions()
        asked: deque[Any] = deque()  # the sources whose replies have not come

        def requests() -> Iterator[ProviderRequest]:
            for source in sources:
                asked.append(source)
                yield ProviderRequest(
                    partial(_sound, source, channel), language=options.language, prompt=options.context
                )

        for index, reply in enumerate(transcribe_all(self.provider, requests())):
            source = asked.popleft()
            if on_progress is not None:
                on_progress(Progress(index, _name(source), reply.duration, reply.duration))
            yield self._result(index, source, reply)

    def _result(self, index: int, source: Any, reply: ProviderReply) -> Result:
        heard, name = reply.heard, _name(source)
        if heard is None:
            return Result(index, source, name, duration=reply.duration, error=reply.error)
        segments = (Segment(0.0, reply.duration, heard.text, words=heard.words),) if heard.text.strip() else ()
        transcript = Transcript(
            segments, heard.language, duration=reply.duration, source=name, model=self.name, revision=self.revision
        )
        return Result(index, source, name, reply.duration, heard.seconds, transcript=transcript)


def _name(source: Any) -> str:
    return str(getattr(source, "name", source))


def _sound(source: Any, channel: str) -> Audio:
    made = source() if callable(source) else source
    if isinstance(made, Audio):
        return made
    if is_source(made):
        with made:
            return Audio(made.read(0, _EVERYTHING), made.name)
    return load(made, channel=channel)
