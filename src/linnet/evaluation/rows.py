"""Rows of an evaluation as a corpus: read from their file, added up, or scored anew."""

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
    """What `linnet evaluate --output` has written."""

    header: Mapping[str, Any]  # model, revision, options and normalizer
    rows: Sequence[ScoredRow]  # in the manifest's order, those that failed among them
    sessions: Sequence[Mapping[str, Any]]  # where they were made
    bad: Sequence[str] = ()  # sentences on lines that are damaged, and left out


def read_rows(path: Path) -> RowFile:
    """Read an evaluation's rows. A last line that a crash cut short is left out; of a row done twice the last counts.

    A damaged line is left out and told in `bad`. Raises `OptionError` where the file cannot be read or is something
    else.
    """
    try:
        lines = whole_lines(path)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from error
    found = read_lines(lines)
    if found is None:
        raise OptionError(f"{path}: is no file of rows: make one with  linnet evaluate MANIFEST --output {path.name}")
    rows = {row.row: row for row in found.rows}
    bad = bad_lines(path, found.bad, "are left out")
    return RowFile(found.header, [rows[place] for place in sorted(rows)], found.sessions, bad)


def score_rows(rows: Iterable[ScoredRow]) -> Score:
    """The corpus score of rows as they are: word counts from the rows, characters from their normalized texts.

    Rows with an error are left out. Raises `OptionError` where rows were counted by several protocols.

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
    """The rows with their raw texts normalized and counted anew; those with an error stay as they are.

    For two files that were made with different normalizers, or for cased and verbatim scores of the same rows.
    """
    for row in rows:
        if row.error is not None:
            yield row
            continue
        yield compared(row, row.language, normalizers, protocol)


def compared(
    row: ScoredRow, spoken: str | None, normalizers: Normalizers, protocol: str = "plain", **known: Any
) -> ScoredRow:
    """The row with its texts normalized for the language that was spoken, and its errors.

    `known` are fields that the row has yet to get, its `hypothesis` among them; a missing one counts as empty.
    """
    heard: str | None = known.get("hypothesis", row.hypothesis)
    normalize = normalizers.function(spoken)
    reference, hypothesis = normalize(row.text), normalize(heard or "")
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
