"""Transcribing utterances, or taking existing hypotheses, and scoring each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from linnet.data import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import LinnetError, OptionError
from linnet.evaluation.hypotheses import UtteranceHypothesis
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.rows import compared
from linnet.scoring.scores import find_protocol
from linnet.text.language_codes import base_language
from linnet.text.normalizers import Normalizers
from linnet.transcription.batch import Recognizes
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import Progress, Result


class RecognizesLanguages(Recognizes, Protocol):
    """The part of `Recognizer` that an evaluation uses."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes that the model takes; empty if it takes none."""
        ...


@dataclass(frozen=True)
class EvaluationOptions:
    """How utterances are transcribed and scored; a row's own language is used where `decoding` names none.

    Raises `OptionError` for an unknown `protocol` (`scores.find_protocol`).
    """

    decoding: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    normalizers: Normalizers = field(default_factory=Normalizers)
    batch_size: int = 1
    channel: str = "mix"
    protocol: str = "plain"

    def __post_init__(self) -> None:
        find_protocol(self.protocol)

    def header(self, recognizer: Recognizes) -> dict[str, Any]:
        """What the rows are made with; rows of evaluations with equal headers can be combined."""
        return {
            "model": recognizer.name,
            "revision": recognizer.revision,
            "dtype": recognizer.dtype,
            "options": {**asdict(self.decoding), "channel": self.channel},
            **self.scoring(),
        }

    def compare(self, row: ScoredRow, **known: Any) -> ScoredRow:
        """The row with these fields and its word errors (`rows.compared`)."""
        return compared(row, self.decoding.language or row.language, self.normalizers, self.protocol, **known)

    def scoring(self) -> dict[str, Any]:
        """The part of the header on how texts are compared."""
        return {
            "normalizer": {
                "choice": self.normalizers.choice,
                "spelling": self.normalizers.spelling.digest,
                "hash": self.normalizers.digest,
            },
            "protocol": self.protocol,
        }


def select(utterances: Iterable[Utterance], limit: int | None = None) -> tuple[list[ScoredRow], int]:
    """Rows for the first `limit` utterances with a text, and the number of utterances without one.

    Raises `OptionError` where no utterance has a text.
    """
    rows: list[ScoredRow] = []
    without = 0
    for number, utterance in enumerate(utterances):
        if limit is not None and len(rows) == limit:
            break
        if utterance.text is None:
            without += 1
        else:
            rows.append(_row(number, utterance))
    if not rows:
        raise OptionError(f"no utterance has a reference text to compare with ({without} without one)")
    return rows, without


def _row(number: int, utterance: Utterance) -> ScoredRow:
    return ScoredRow(
        row=number,
        id=utterance.id,
        audio=utterance.audio,
        text=utterance.text or "",
        language=utterance.language,
        speaker=utterance.speaker,
        session=utterance.session,
        recording=utterance.recording,
        snr=utterance.snr,
        start=utterance.start,
        end=utterance.end,
        channel=utterance.channel,
        chunk=utterance.chunk,
    )


def still_open(rows: Sequence[ScoredRow], done: dict[int, ScoredRow]) -> list[ScoredRow]:
    """The rows that are not scored yet. Raises `OptionError` where the manifest differs from that of the scored
    rows."""
    for row in rows:
        old = done.get(row.row)
        if old is not None and (old.id, old.text, old.language) != (row.id, row.text, row.language):
            raise OptionError(
                f"utterance {row.row + 1} of the manifest is not the one in --output ({old.id}, now {row.id}): "
                "start over with --restart, or choose another --output"
            )
    return [row for row in rows if row.row not in done]


def evaluate_rows(
    recognizer: RecognizesLanguages,
    rows: Sequence[ScoredRow],
    options: EvaluationOptions,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[ScoredRow]:
    """Transcribe and score each row; yields rows as they finish, in no fixed order.

    A row whose audio fails keeps its `error` and is not scored. Raises `OptionError` for options that the model does
    not support; a language that only the manifest names fails its rows instead.
    """
    groups: dict[str | None, list[ScoredRow]] = {}
    for row in rows:
        groups.setdefault(language_of(recognizer, row, options), []).append(row)
    with UtteranceReader() as reader:
        for language, group in groups.items():
            left = dict(enumerate(group))
            results = recognizer.transcribe_many(
                audio_inputs(reader, group, options.channel),
                options=replace(options.decoding, language=language),
                batch_size=options.batch_size,
                channel=options.channel,
                in_order=False,  # each is written as it finishes
                on_progress=on_progress,
            )
            try:
                for result in results:
                    yield score(left.pop(result.index), result, options)
            except OptionError as error:
                if options.decoding.language is not None or language is None:
                    raise
                for row in left.values():
                    yield replace(row, error=str(error))


def audio_inputs(reader: UtteranceReader, rows: Iterable[ScoredRow], channel: str) -> Iterator[Any]:
    """The recognizer's input for each row: the path of a whole recording, else a source of its segment."""
    for row in rows:
        if row.start is None and row.end is None and row.channel is None and "::" not in row.audio:
            yield row.audio
        else:
            yield from reader.sources([utterance_of(row)], channel)


def utterance_of(row: ScoredRow) -> Utterance:
    """The utterance of a row."""
    return Utterance(row.audio, id=row.id, start=row.start, end=row.end, channel=row.channel)


class TakesLanguages(Protocol):
    """What knows which languages it takes."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes; empty if it takes none."""
        ...


def language_of(recognizer: TakesLanguages, row: ScoredRow, options: EvaluationOptions) -> str | None:
    """The language to decode in: `--language`, else the row's, without its region where the model has no such code."""
    if not recognizer.languages:
        return None
    wanted = options.decoding.language or row.language
    if wanted is None or wanted in recognizer.languages:
        return wanted
    main = base_language(wanted)
    return main if main in recognizer.languages else wanted


def score(row: ScoredRow, result: Result, options: EvaluationOptions) -> ScoredRow:
    """The row with its hypothesis and word errors."""
    if result.transcript is None:
        return replace(row, error=str(result.error or LinnetError("no transcript")), seconds=result.seconds)
    return options.compare(
        row,
        hypothesis=result.transcript.text,
        detected_language=result.transcript.language,
        duration=result.duration,
        seconds=result.seconds,
    )


def score_given(
    rows: Sequence[ScoredRow], found: Sequence[UtteranceHypothesis | None], options: EvaluationOptions
) -> Iterator[ScoredRow]:
    """Score each row by an existing hypothesis; a row without one gets an `error` and is not scored."""
    for row, hypothesis in zip(rows, found, strict=True):
        if hypothesis is None:
            yield replace(row, error="no hypothesis")
            continue
        seconds, duration = hypothesis.seconds or 0.0, hypothesis.duration or row.duration
        yield options.compare(row, hypothesis=hypothesis.text, seconds=seconds, duration=duration)


def join_chunks(rows: Iterable[ScoredRow], options: EvaluationOptions) -> list[ScoredRow]:
    """The rows with the pieces of each recording joined: their concatenated hypotheses against the full text.

    A recording with a failed piece has failed. Rows that are not pieces are kept.
    """
    whole: list[ScoredRow] = []
    pieces: dict[str, list[ScoredRow]] = {}
    for row in rows:
        if row.chunk is None or row.recording is None:
            whole.append(row)
        else:
            pieces.setdefault(row.recording, []).append(row)
    for recording, group in pieces.items():
        group.sort(key=lambda row: row.chunk or 0)
        total = replace(
            group[0],
            id=recording,
            chunk=None,
            duration=sum(row.duration for row in group),
            seconds=sum(row.seconds for row in group),
        )
        errors = [f"piece {row.chunk}: {row.error}" for row in group if row.error is not None]
        if errors:
            whole.append(replace(total, error=errors[0]))
        else:
            whole.append(options.compare(total, hypothesis=" ".join(row.hypothesis or "" for row in group)))
    return sorted(whole, key=lambda row: row.row)
