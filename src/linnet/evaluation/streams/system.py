"""A live model as a system under evaluation: each row's recording is played to a stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.data.manifest import WordTime
from linnet.data.samples import UtteranceReader
from linnet.errors import LinnetError, OptionError
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.run import EvaluationOptions, language_of, utterance_of
from linnet.evaluation.streams.protocol import LiveSystem
from linnet.evaluation.streams.reference import from_manifest, from_transcript
from linnet.evaluation.streams.simulate import CHUNK, play
from linnet.evaluation.systems import OnProgress, Work
from linnet.machine import hardware, versions
from linnet.scoring.latency import SpokenWord
from linnet.transcription.schedule import Progress

Align = Callable[[Samples, str | None], Sequence[WordTime]]  # samples, language -> the words heard in them


@dataclass(frozen=True)
class StreamChoice:
    """How recordings are played: seconds of audio given at a time, and how to find word times where rows hold none."""

    chunk: float = CHUNK
    align: Align | None = None


class StreamSystem:
    """A live model, loaded by `load` when first needed."""

    def __init__(self, load: Callable[[], LiveSystem], choice: StreamChoice | None = None) -> None:
        self._load = load
        self._choice = choice or StreamChoice()

    @cached_property
    def live(self) -> LiveSystem:
        """The model."""
        return self._load()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.live.name

    def header(self, options: EvaluationOptions) -> dict[str, Any]:
        """See `System`."""
        live, choice = self.live, self._choice
        stream = {**live.options, "chunk": choice.chunk, "align": choice.align is not None}
        stream.pop("language", None)  # each row's own, or that of the decoding options
        named = {"language": options.decoding.language, "channel": options.channel}
        return {
            "model": live.name,
            "revision": live.revision,
            "dtype": live.dtype,
            "options": {**named, "stream": stream},
            **options.scoring(),
        }

    def session(self, batch_size: int) -> dict[str, Any]:
        """See `System`."""
        del batch_size  # one stream at a time
        return {
            "device": self.live.device,
            "engine": self.live.engine_name,
            "machine": hardware(self.live.device),
            "versions": versions("linnet", "torch", "transformers"),
        }

    def score(self, work: Work, options: EvaluationOptions, on_progress: OnProgress) -> Iterator[ScoredRow]:
        """See `System`; a row whose recording or stream fails keeps its error."""
        pending = {row.row for row in work.pending}
        words = {number: one.words for number, one in enumerate(work.source) if number in pending and one.words}
        with UtteranceReader() as reader:
            for place, row in enumerate(work.pending):
                try:
                    samples = reader.read(utterance_of(row), options.channel).samples
                    yield self._played(row, samples, words.get(row.row), options, _teller(on_progress, place, row))
                except LinnetError as error:
                    if isinstance(error, OptionError) and options.decoding.language is not None:
                        raise
                    yield replace(row, error=str(error))

    def _played(
        self,
        row: ScoredRow,
        samples: Samples,
        words: Sequence[WordTime] | None,
        options: EvaluationOptions,
        on_chunk: Callable[[float], None],
    ) -> ScoredRow:
        language = language_of(self.live, row, options)
        reference = self._reference(row, samples, words, options)
        stream = self.live.open(language)
        played = play(stream, samples, chunk=self._choice.chunk, reference=reference, on_chunk=on_chunk)
        trace = played.trace
        return options.compare(
            row,
            hypothesis=played.text,
            detected_language=language,
            duration=trace.duration,
            seconds=sum(trace.compute),
            stream=trace.to_dict(),
        )

    def _reference(
        self, row: ScoredRow, samples: Samples, words: Sequence[WordTime] | None, options: EvaluationOptions
    ) -> list[SpokenWord] | None:
        if words:
            return from_manifest(words)
        if self._choice.align is None:
            return None if row.text.strip() else []
        language = options.decoding.language or row.language
        normalize = options.normalizers.function(language)
        heard = self._choice.align(samples, language_of(self.live, row, options))
        return from_transcript(row.text, heard, len(samples) / SAMPLE_RATE, normalize)


def _teller(on_progress: OnProgress, place: int, row: ScoredRow) -> Callable[[float], None]:
    return lambda seconds: on_progress(Progress(place, row.audio, seconds, None))
