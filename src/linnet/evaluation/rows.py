"""Rows of an evaluation as a corpus: their score, and their texts scored anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from linnet.evaluation.log import ScoredRow
from linnet.evaluation.matching import hypothesis_words, one_protocol, reference_words
from linnet.evaluation.normalisers import Normalizers
from linnet.evaluation.scores import Score, Silence, WordErrors, count_characters, count_errors, find_protocol, total


def score_rows(rows: Iterable[ScoredRow]) -> Score:
    """The corpus score of rows as they are: word counts from the rows, characters from their normalised texts.

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
    """The rows with their raw texts normalised and counted anew; those with an error stay as they are.

    For two files that were made with different normalisers, or for cased and verbatim scores of the same rows.
    """
    for row in rows:
        if row.error is not None:
            yield row
            continue
        said, heard = (normalizers.normalize(text, row.language) for text in (row.text, row.hypothesis or ""))
        counts = count_errors(said, heard, protocol)
        yield replace(
            row,
            protocol=protocol,
            normalizer=normalizers.id(row.language),
            normalized_text=said,
            normalized_hypothesis=heard,
            words=counts.words,
            substitutions=counts.substitutions,
            deletions=counts.deletions,
            insertions=counts.insertions,
        )


def _characters(row: ScoredRow) -> WordErrors:
    return count_characters(" ".join(reference_words(row)), " ".join(hypothesis_words(row)))
