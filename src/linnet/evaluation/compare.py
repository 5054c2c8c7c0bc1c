"""Two systems on the same utterances: which is better, by how much, how significantly, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from linnet.errors import OptionError
from linnet.evaluation.changes import Changes, find_changes
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.matching import match
from linnet.evaluation.strata import FIELDS, Stratum, stratify
from linnet.scoring.bootstrap import RESAMPLES, Ratio
from linnet.scoring.clusters import Unit, choose_clusters
from linnet.scoring.scores import WordErrors
from linnet.scoring.significance import MatchedPairs, holm, mapsswe, runs_difference


@dataclass(frozen=True)
class CompareOptions:
    """How two systems are compared; `by` is the resampling unit, by default speakers, sessions or recordings if
    known."""

    by: Unit | None = None
    level: float = 0.95
    resamples: int = RESAMPLES
    seed: int = 0
    fields: Sequence[str] = tuple(FIELDS)  # by which the corpus is stratified

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.resamples < 1:
            raise OptionError(f"level {self.level} and {self.resamples} resamples: use a level as 0.95, and 1 or more")
        for name in self.fields:
            if name not in FIELDS:
                raise OptionError(f"a corpus cannot be stratified by {name!r}: use {', '.join(FIELDS)}")


@dataclass(frozen=True)
class Comparison:
    """The results of two systems on the same utterances; differences are A minus B, so above 0 B is better."""

    names: tuple[str, str]
    label: str  # protocol and normalizers, with their hashes
    utterances: int
    left_out: Mapping[str, int]  # why -> utterances that only one of the two has scored
    a: WordErrors  # of the first of several runs
    b: WordErrors
    runs: tuple[int, int]
    difference: Ratio | None  # of the word error rates; None: fewer than two clusters, or no words
    level: float
    matched_pairs: MatchedPairs  # of the first runs
    strata: Sequence[Stratum] = ()
    changes: Changes = field(default_factory=Changes)
    compared: int = 1  # number of comparisons, for which p_value is adjusted
    p_value: float | None = None  # of the bootstrap; None where `difference` is

    @property
    def winner(self) -> str | None:
        """The better system's name; `None` where the difference is not significant."""
        if self.difference is None or self.p_value is None or self.p_value >= 1 - self.level:
            return None
        return self.names[1] if self.difference.value > 0 else self.names[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "winner": self.winner}

    def lines(self) -> list[str]:
        """The comparison as text for a terminal."""
        from linnet.evaluation.compare_text import describe

        return describe(self)


def compare(
    rows_a: Sequence[ScoredRow],
    rows_b: Sequence[ScoredRow],
    *,
    names: tuple[str, str] = ("A", "B"),
    options: CompareOptions | None = None,
) -> Comparison:
    """Compare two systems on the utterances that both have scored.

    The interval and p-value of the difference come from a paired bootstrap over speakers, sessions or recordings
    (`linnet.scoring.bootstrap`); MAPSSWE is reported beside it.

    Raises:
        OptionError: no utterance is in both, or an utterance's normalized reference, normalizer or protocol differs.

    >>> rows = [ScoredRow(n, f"u{n}", f"{n}.wav", "a b c", speaker=f"s{n % 8}", words=3) for n in range(80)]
    >>> worse = [replace(row, hypothesis="a b", deletions=row.row % 3 // 2) for row in rows]
    >>> compare(worse, [replace(row, hypothesis="a b c") for row in rows], names=("old", "new")).winner
    'new'
    """
    return compare_runs([rows_a], [rows_b], names=names, options=options)


def compare_runs(
    runs_a: Sequence[Sequence[ScoredRow]],
    runs_b: Sequence[Sequence[ScoredRow]],
    *,
    names: tuple[str, str] = ("A", "B"),
    options: CompareOptions | None = None,
) -> Comparison:
    """Compare two systems that were trained and scored several times, as `compare` does for single runs.

    The difference is that of the mean rates, and its interval includes the variation between seeds
    (`linnet.scoring.significance.runs_difference`); MAPSSWE, strata and changed words are those of the first runs.
    """
    options = options or CompareOptions()
    if not runs_a or not runs_b:
        raise OptionError("a comparison needs at least one run of each system")
    matched = match([*runs_a, *runs_b])
    first, second = matched.runs[0], matched.runs[len(runs_a)]
    words, errors = matched.words(), matched.errors()
    clusters = choose_clusters(first, options.by)
    difference = runs_difference(
        errors[: len(runs_a)],
        errors[len(runs_a) :],
        words,
        clusters=clusters,
        level=options.level,
        resamples=options.resamples,
        seed=options.seed,
    )
    changes, alignments = find_changes(first, second, matched.protocol)
    strata = [
        stratum
        for name in options.fields
        for stratum in stratify(name, first, second, clusters, level=options.level, seed=options.seed)
    ]
    return Comparison(
        names=names,
        label=", ".join([matched.protocol, *matched.normalizers]),
        utterances=len(first),
        left_out=matched.left_out,
        a=matched.total(0),
        b=matched.total(len(runs_a)),
        runs=(len(runs_a), len(runs_b)),
        difference=difference,
        level=options.level,
        matched_pairs=mapsswe(alignments),
        strata=strata,
        changes=changes,
        p_value=None if difference is None else difference.p_value,
    )


def compare_all(
    systems: Mapping[str, Sequence[Sequence[ScoredRow]]],
    *,
    baseline: str | None = None,
    options: CompareOptions | None = None,
) -> list[Comparison]:
    """Compare each system, given by its runs, with `baseline`, or all pairs.

    P-values are adjusted for the number of comparisons (Holm 1979).
    """
    if len(systems) < 2 or (baseline is not None and baseline not in systems):
        raise OptionError(f"comparing needs two systems or more, and a baseline among them: got {', '.join(systems)}")
    names = list(systems)
    pairs = (
        [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
        if baseline is None
        else [(baseline, name) for name in names if name != baseline]
    )
    found = [compare_runs(systems[a], systems[b], names=(a, b), options=options) for a, b in pairs]
    adjusted = holm([1.0 if one.p_value is None else one.p_value for one in found])
    return [
        replace(one, compared=len(found), p_value=None if one.p_value is None else p_value)
        for one, p_value in zip(found, adjusted, strict=True)
    ]
