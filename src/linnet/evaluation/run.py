"""Transcribing a manifest and scoring each utterance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from linnet.data import Utterance
from linnet.decoding.options import DecodingOptions
from linnet.errors import LinnetError, OptionError
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.normalisers import Normalizers
from linnet.evaluation.scores import count_errors
from linnet.transcription.batch import Recognizes
from linnet.transcription.schedule import Progress, Result


class RecognizesLanguages(Recognizes, Protocol):
    """What an evaluation needs of a `Recognizer`."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes that may be named; empty where the model takes none."""
        ...


@dataclass(frozen=True)
class EvaluationOptions:
    """How a manifest is transcribed and scored. A row's own language counts where `decoding` names none."""

    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    normalizers: Normalizers = field(default_factory=Normalizers)
    batch_size: int = 1
    channel: str = "mix"

    def header(self, recognizer: Recognizes) -> dict[str, Any]:
        """What the rows are made with: two evaluations with equal headers can be joined."""
        return {
            "model": recognizer.name,
            "revision": recognizer.revision,
            "dtype": recognizer.dtype,
            "options": {**asdict(self.decoding), "channel": self.channel},
            "normalizer": {
                "choice": self.normalizers.choice,
                "spelling": self.normalizers.spelling.digest,
                "hash": self.normalizers.digest,
            },
        }


def select(utterances: Iterable[Utterance], limit: int | None = None) -> tuple[list[ScoredRow], int]:
    """The utterances with a text as rows to be scored, the first `limit` of them, and how many had no text.

    Raises:
        OptionError: no utterance has a text.
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
        raise OptionError(f"the manifest has no utterance with the key 'text' to compare with ({without} without it)")
    return rows, without


def _row(number: int, utterance: Utterance) -> ScoredRow:
    return ScoredRow(
        row=number,
        id=utterance.id,
        audio=utterance.audio,
        text=utterance.text or "",
        language=utterance.language,
        speaker=utterance.speaker,
    )


def still_open(rows: Sequence[ScoredRow], done: dict[int, ScoredRow]) -> list[ScoredRow]:
    """The rows that are not done. Raises `OptionError` where the manifest is another one than the done rows'."""
    for row in rows:
        old = done.get(row.row)
        if old is not None and (old.id, old.text, old.language) != (row.id, row.text, row.language):
            raise OptionError(
                f"utterance {row.row + 1} of the manifest is another one than in --output ({old.id}, now {row.id}): "
                "begin again with --restart, or choose another --output"
            )
    return [row for row in rows if row.row not in done]


def evaluate_rows(
    recognizer: RecognizesLanguages,
    rows: Sequence[ScoredRow],
    options: EvaluationOptions,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[ScoredRow]:
    """Transcribe and score each row; yields it when it is done, in no fixed order.

    A row whose sound fails keeps its `error` and is not scored. Raises `OptionError` for options that the model cannot
    honour; a language that only the manifest names fails its rows instead.
    """
    groups: dict[str | None, list[ScoredRow]] = {}
    for row in rows:
        groups.setdefault(_language(recognizer, row, options), []).append(row)
    for language, group in groups.items():
        left = dict(enumerate(group))
        results = recognizer.transcribe_many(
            [row.audio for row in group],
            options=replace(options.decoding, language=language),
            batch_size=options.batch_size,
            channel=options.channel,
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


def _language(recognizer: RecognizesLanguages, row: ScoredRow, options: EvaluationOptions) -> str | None:
    """What the model is told: `--language`, else the row's, by its main code where the model knows only that."""
    if not recognizer.languages:
        return None
    wanted = options.decoding.language or row.language
    if wanted is None or wanted in recognizer.languages:
        return wanted
    main = wanted.replace("_", "-").partition("-")[0].lower()
    return main if main in recognizer.languages else wanted


def score(row: ScoredRow, result: Result, options: EvaluationOptions) -> ScoredRow:
    """The row with what was heard and how it differs, both texts normalised for the language that was spoken."""
    if result.transcript is None:
        return replace(row, error=str(result.error or LinnetError("no transcript")), seconds=result.seconds)
    spoken = options.decoding.language or row.language
    normalizers = options.normalizers
    reference, hypothesis = (normalizers.normalize(text, spoken) for text in (row.text, result.transcript.text))
    counts = count_errors(reference, hypothesis)
    return replace(
        row,
        hypothesis=result.transcript.text,
        heard_language=result.transcript.language,
        normalizer=normalizers.id(spoken),
        normalized_text=reference,
        normalized_hypothesis=hypothesis,
        words=counts.words,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        duration=result.duration,
        seconds=result.seconds,
    )
