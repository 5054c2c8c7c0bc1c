"""Rows of an evaluation: read from a file, scored as a corpus, or scored again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linnet.errors import OptionError
from linnet.evaluation.log import ScoredRow, bad_lines, read_lines
from linnet.evaluation.matching import hypothesis_words, one_protocol, reference_words
from linnet.files import whole_lines
from linnet.scoring.scores import Score, Silence, WordErrors, count_characters, count_errors, find_protocol, total
from linnet.text.normalizers import Normalizers


@dataclass(frozen=True)
class RowFile:
    """The content of a file written by `linnet evaluate --output`."""

    header: Mapping[str, Any]  # model, revision, options and normalizer
    rows: Sequence[ScoredRow]  # in the manifest's order, including failed ones
    sessions: Sequence[Mapping[str, Any]]  # where they were made
    bad: Sequence[str] = ()  # notices on damaged lines, which are skipped


def read_rows(path: Path) -> RowFile:
    """Read an evaluation's rows; of a row scored twice the last counts, damaged lines are skipped and listed in `bad`.

    Raises `OptionError` for a file that cannot be read or is of another kind.
    """
    try:
        lines = whole_lines(path)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from error
    found = read_lines(lines)
    if found is None:
        raise OptionError(f"{path}: is not a rows file: make one with  linnet evaluate MANIFEST --output {path.name}")
    rows = {row.row: row for row in found.rows}
    bad = bad_lines(path, found.bad, "are skipped")
    return RowFile(found.header, [rows[place] for place in sorted(rows)], found.sessions, bad)


def score_rows(rows: Iterable[ScoredRow]) -> Score:
    """The corpus score: word errors as counted in the rows, character errors of their normalized texts.

    Rows with an error are skipped. Raises `OptionError` where rows were scored by several protocols.

    >>> row = ScoredRow(0, "a", "a.wav", "Oh.", normalized_text="", normalized_hypothesis="no", insertions=1)
    >>> score_rows([row]).silence.hallucination_rate
    1.0
    """
    scored = [row for row in rows if row.error is None]
    protocol = one_protocol(scored)
    silent = [row for row in scored if not row.words]
    return Score(
        protocol=protocol,
        scorer=find_protocol(protocol).scorer,
        normalizers=dict(sorted(Counter(row.normalizer or "unknown" for row in scored).items())),
        utterances=len(scored),
        words=total(row.counts for row in scored),
        characters=total(_characters(row) for row in scored),
        silence=Silence(
            utterances=len(silent),
            with_words=sum(row.insertions > 0 for row in silent),
            words=sum(row.insertions for row in silent),
        ),
    )


def rescore(rows: Iterable[ScoredRow], normalizers: Normalizers, protocol: str = "plain") -> Iterator[ScoredRow]:
    """Normalize and score the rows' raw texts again, such as for cased or verbatim scores; rows with an error are
    kept."""
    for row in rows:
        if row.error is not None:
            yield row
            continue
        yield compared(row, row.language, normalizers, protocol)


def compared(
    row: ScoredRow, spoken: str | None, normalizers: Normalizers, protocol: str = "plain", **known: Any
) -> ScoredRow:
    """The row with its texts normalized for the spoken language, and its word errors.

    `known` are further fields to set, such as `hypothesis`; a missing hypothesis counts as empty.
    """
    raw: str | None = known.get("hypothesis", row.hypothesis)
    normalize = normalizers.function(spoken)
    reference, hypothesis = normalize(row.text), normalize(raw or "")
    counts = count_errors(reference, hypothesis, protocol)
    return replace(
        row,
        **known,
        protocol=protocol,
        normalizer=normalizers.id(spoken),
        normalized_text=reference,
        normalized_hypothesis=hypothesis,
        words=counts.words,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
    )


def _characters(row: ScoredRow) -> WordErrors:
    return count_characters(" ".join(reference_words(row)), " ".join(hypothesis_words(row)))
