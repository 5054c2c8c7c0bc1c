"""A provider with the interface of a `Recognizer`, so that evaluations run it by the same code."""

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
    """The recognizer interface that `evaluate_rows` uses, on top of a provider.

    Only language and prompt of the decoding options are passed on. A recording that fails is a result with its error;
    failures of the provider itself are raised (see `transcribe_all`).
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    @property
    def name(self) -> str:
        """As `open_provider` takes it."""
        return self.provider.identity.name

    @property
    def revision(self) -> str:
        """The revision of the model and its library, or of the request, with URL and fields if given."""
        identity = self.provider.identity
        url = [identity.url] if identity.url else []
        return ", ".join(
            [identity.revision, *url, *(f"{key}={value}" for key, value in sorted(identity.fields.items()))]
        )

    @property
    def dtype(self) -> str:
        """The precision, if known."""
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
        """Whisper's language codes, since systems do not list theirs."""
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
        """Results in the order of the sources, several at once as the provider allows; `batch_size` is ignored."""
        options = options or DecodingOptions()
        pending: deque[Any] = deque()  # sources without a reply so far

        def requests() -> Iterator[ProviderRequest]:
            for source in sources:
                pending.append(source)
                yield ProviderRequest(
                    partial(_load, source, channel), language=options.language, prompt=options.context
                )

        for index, reply in enumerate(transcribe_all(self.provider, requests())):
            source = pending.popleft()
            if on_progress is not None:
                on_progress(Progress(index, _name(source), reply.duration, reply.duration))
            yield self._result(index, source, reply)

    def _result(self, index: int, source: Any, reply: ProviderReply) -> Result:
        found, name = reply.transcript, _name(source)
        if found is None:
            return Result(index, source, name, duration=reply.duration, error=reply.error)
        segments = (Segment(0.0, reply.duration, found.text, words=found.words),) if found.text.strip() else ()
        transcript = Transcript(
            segments, found.language, duration=reply.duration, source=name, model=self.name, revision=self.revision
        )
        return Result(index, source, name, reply.duration, found.seconds, transcript=transcript)


def _name(source: Any) -> str:
    return str(getattr(source, "name", source))


def _load(source: Any, channel: str) -> Audio:
    made = source() if callable(source) else source
    if isinstance(made, Audio):
        return made
    if is_source(made):
        with made:
            return Audio(made.read(0, _EVERYTHING), made.name)
    return load(made, channel=channel)
