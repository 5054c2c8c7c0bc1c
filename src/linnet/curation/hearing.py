"""What a recognizer's sounds tell of the transcripts of a corpus, row by row, into a file for `--heard`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from linnet.alignment.gain import TextGain
from linnet.audio.types import Samples
from linnet.data.fields import BadRow, parse_json
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError
from linnet.files import JsonLog, cannot_write, whole_lines

_TOGETHER = 32  # batches of recordings that are sorted by length together


class Scorer(Protocol):
    """Scores texts against sounds: `alignment.gain.GainScorer`."""

    def score(
        self, sounds: Sequence[Samples], texts: Sequence[str], languages: Sequence[str | None]
    ) -> list[TextGain | str]:
        """The gain of each text from its sound, or the reason why it cannot be had."""
        ...


@dataclass
class HearingReport:
    """What became of the rows: `kept` ones were in the file already; those without a gain by reason."""

    heard: int = 0
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Notices for the user."""
        lines = [f"{self.heard:,} transcripts heard" + (f", {self.kept:,} before" if self.kept else "")]
        return lines + [f"  {count:,} not: {reason}" for reason, count in self.left_out.most_common()]


def hear_texts(utterances: Iterable[Utterance], path: Path, scorer: Scorer, model: str, batch: int) -> HearingReport:
    """Write a row for each utterance: `id`, `model`, `text`, `gain`, `score` and `tokens`, or `error`.

    Rows of the file with the same id, model and text are kept, so that a killed run resumes. Raises `OutputError`.
    """
    report = HearingReport()
    try:
        done = _known(path)
        with JsonLog(path) as log:
            for rows in _chunks(utterances, done, model, batch * _TOGETHER, report):
                for row in _hear(rows, scorer, batch):
                    log.append(row | {"model": model})
                    report.heard += "gain" in row
                    report.left_out.update([row["error"]] if "error" in row else [])
    except OSError as error:
        raise cannot_write(path, error) from error
    return report


def _known(path: Path) -> set[tuple[Any, Any, Any]]:
    """The id, model and text of the rows that a file has."""
    known = set()
    for line in whole_lines(path) if path.is_file() else []:
        try:
            row = parse_json(line)
        except BadRow:
            continue
        known.add((row.get("id"), row.get("model"), row.get("text")))
    return known


def _chunks(
    utterances: Iterable[Utterance], done: set[tuple[Any, Any, Any]], model: str, size: int, report: HearingReport
) -> Iterator[list[Utterance]]:
    """The utterances with a text that are not done, some at a time."""
    rows: list[Utterance] = []
    for one in utterances:
        if not one.text:
            report.left_out["without a text"] += 1
        elif (one.id, model, one.text) in done:
            report.kept += 1
        else:
            rows.append(one)
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows


def _hear(rows: Sequence[Utterance], scorer: Scorer, batch: int) -> Iterator[dict[str, Any]]:
    """The rows of some utterances; those with texts of similar length are computed together."""
    waiting: list[tuple[Utterance, Samples]] = []
    with UtteranceReader() as reader:
        for one in sorted(rows, key=lambda row: len(row.text or "")):
            try:
                waiting.append((one, reader.read(one).samples))
            except AudioError:
                yield {"id": one.id, "text": one.text, "error": "unreadable audio"}
            if len(waiting) == batch:
                yield from _scored(waiting, scorer)
                waiting = []
    if waiting:
        yield from _scored(waiting, scorer)


def _scored(waiting: Sequence[tuple[Utterance, Samples]], scorer: Scorer) -> Iterator[dict[str, Any]]:
    sounds = [samples for _, samples in waiting]
    found = scorer.score(sounds, [one.text or "" for one, _ in waiting], [one.language for one, _ in waiting])
    for (one, _), gain in zip(waiting, found, strict=True):
        row = {"id": one.id, "text": one.text}
        if isinstance(gain, str):
            yield row | {"error": gain}
        else:
            yield row | {"gain": round(gain.gain, 3), "score": round(gain.score, 3), "tokens": gain.tokens}
