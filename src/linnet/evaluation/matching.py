"""Rows of several evaluations matched by utterance."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linnet.errors import OptionError
from linnet.evaluation.log import ScoredRow
from linnet.scoring.clusters import Floats
from linnet.scoring.scores import WordErrors, total


@dataclass(frozen=True)
class MatchedRuns:
    """The utterances scored by every run: `runs[r][i]` is run r's row of utterance i."""

    runs: Sequence[Sequence[ScoredRow]]
    protocol: str
    normalizers: Sequence[str]  # names with hashes
    left_out: Mapping[str, int]  # why -> utterances

    def words(self) -> Floats:
        """Reference words, [utterances]."""
        return np.array([row.words for row in self.runs[0]], np.float64)

    def errors(self) -> Floats:
        """Word errors, [runs, utterances]."""
        return np.array([[row.counts.errors for row in rows] for rows in self.runs], np.float64)

    def total(self, run: int) -> WordErrors:
        """The counts of one run over all utterances."""
        return total(row.counts for row in self.runs[run])


def reference_words(row: ScoredRow) -> list[str]:
    """The reference words as compared."""
    return (row.text if row.normalized_text is None else row.normalized_text).split()


def hypothesis_words(row: ScoredRow) -> list[str]:
    """The hypothesis words as compared."""
    return (row.normalized_hypothesis or "" if row.normalized_text is not None else row.hypothesis or "").split()


def match(runs: Sequence[Sequence[ScoredRow]]) -> MatchedRuns:
    """Match the runs' rows by id, or by id and position in the manifest where ids repeat.

    Raises:
        OptionError: no utterance is in all runs, or the runs were scored differently.
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
    for rows in zip(*found, strict=True):
        _check_alike(rows)
    normalizers = sorted({row.normalizer or "unknown" for row in found[0]})
    return MatchedRuns(found, one_protocol(found[0]), normalizers, {why: n for why, n in left_out.items() if n})


def one_protocol(rows: Iterable[ScoredRow]) -> str:
    """The protocol that all rows were scored by; plain if there are no rows. Raises `OptionError` for several."""
    found = sorted({row.protocol for row in rows})
    if len(found) > 1:
        raise OptionError(f"rows scored by {' and by '.join(found)} cannot be combined: score them by one protocol")
    return found[0] if found else "plain"


def _key(row: ScoredRow, unique: bool) -> Hashable:
    return row.id if unique else (row.id, row.row)


def _check_alike(rows: Sequence[ScoredRow]) -> None:
    """Refuse rows of one utterance that were scored differently."""
    for what, values in (
        ("protocol", [row.protocol for row in rows]),
        ("normalizer", [row.normalizer or "unknown" for row in rows]),
        ("reference", [" ".join(reference_words(row)) for row in rows]),
    ):
        other = next((value for value in values if value != values[0]), None)
        if other is not None:
            raise OptionError(
                f"utterance {rows[0].id}: different {what} in the files ({values[0]!r}, {other!r}): score both "
                "with the same manifest, normalizer and protocol"
            )
