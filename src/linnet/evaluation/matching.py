"""Rows of several files that are of the same utterance, in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linnet.errors import OptionError
from linnet.evaluation.blocks import Floats
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.scores import WordErrors, total


@dataclass(frozen=True)
class Matched:
    """The utterances that every run has scored: `runs[r][i]` is run r's row of utterance i."""

    runs: Sequence[Sequence[ScoredRow]]
    label: str  # protocol and normalisers, with their hashes
    left_out: Mapping[str, int]  # why -> utterances

    def words(self) -> Floats:
        """Reference words, [utterances]."""
        return np.array([row.words for row in self.runs[0]], np.float64)

    def errors(self) -> Floats:
        """Word errors, [runs, utterances]."""
        return np.array([[row.counts.errors for row in rows] for rows in self.runs], np.float64)

    def total(self, run: int) -> WordErrors:
        """One run's counts over all utterances."""
        return total(row.counts for row in self.runs[run])


def reference_words(row: ScoredRow) -> list[str]:
    """What was said, as it was compared."""
    return (row.text if row.normalized_text is None else row.normalized_text).split()


def hypothesis_words(row: ScoredRow) -> list[str]:
    """What was heard, as it was compared."""
    return (row.normalized_hypothesis or "" if row.normalized_text is not None else row.hypothesis or "").split()


def match(runs: Sequence[Sequence[ScoredRow]]) -> Matched:
    """Bring the runs' rows together by their ids, or by id and place in the manifest where an id is there twice.

    Raises:
        OptionError: no utterance is in all runs, or an utterance was not scored alike in all of them.
    """
    unique = all(len({row.id for row in rows}) == len(rows) for rows in runs)
    keyed = [{_key(row, unique): row for row in rows} for rows in runs]
    everywhere = [key for key in keyed[0] if all(key in rows for rows in keyed[1:])]
    kept = [key for key in everywhere if all(rows[key].error is None for rows in keyed)]
    left_out = {
        "not in every file": len(set().union(*keyed)) - len(everywhere),
        "failed in at least one": len(everywhere) - len(kept),
    }
    if not kept:
        raise OptionError(
            "no utterance is scored in all files "
            f"({', '.join(f'{count} {why}' for why, count in left_out.items())}): compare rows of the same manifest"
        )
    found = [[rows[key] for key in kept] for rows in keyed]
    used: Counter[tuple[str, str]] = Counter()
    for rows in zip(*found, strict=True):
        used[_scored_alike(rows)] += 1
    protocols, normalizers = (sorted({pair[place] for pair in used}) for place in (0, 1))
    return Matched(found, ", ".join([*protocols, *normalizers]), {why: n for why, n in left_out.items() if n})


def _key(row: ScoredRow, unique: bool) -> Hashable:
    return row.id if unique else (row.id, row.row)


def _scored_alike(rows: Sequence[ScoredRow]) -> tuple[str, str]:
    """Protocol and normaliser of one utterance's rows."""
    for what, values in (
        ("protocol", [str(getattr(row, "protocol", None) or "plain") for row in rows]),
        ("normalizer", [row.normalizer or "unknown" for row in rows]),
        ("reference", [" ".join(reference_words(row)) for row in rows]),
    ):
        other = next((value for value in values if value != values[0]), None)
        if other is not None:
            raise OptionError(
                f"utterance {rows[0].id}: another {what} in each file ({values[0]!r}, {other!r}): score both with the "
                "same manifest, normaliser and protocol"
            )
    return str(getattr(rows[0], "protocol", None) or "plain"), rows[0].normalizer or "unknown"
