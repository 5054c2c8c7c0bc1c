"""Error analysis in one pass over the rows, in bounded memory."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import groupby, pairwise

from linnet.evaluation.errors.classes import RULES, WordClass, classify
from linnet.evaluation.errors.kinds import KINDS, kinds_of
from linnet.evaluation.errors.result import (
    Analysis,
    ClassErrors,
    Example,
    FailedUtterance,
    Group,
    KindErrors,
    Table,
    WordCount,
    Worst,
)
from linnet.evaluation.errors.steps import AlignedRow, align
from linnet.evaluation.errors.tally import Tally
from linnet.evaluation.log import ScoredRow
from linnet.scoring.alignment import Span
from linnet.scoring.scores import WordErrors

SECONDS = (2, 5, 10, 20, 30, 60)  # edges of the duration bins
DECIBELS = (0, 5, 10, 15, 20, 30)  # edges of the signal-to-noise bins
UNKNOWN = "unknown"
GROUPS = 100_000  # distinct speakers or languages
VOCABULARY = 500_000  # distinct words
PAIRS = 50_000  # distinct confusions, with examples

_CONTEXT = 3  # words on either side of an example
_EXAMPLE_WORDS = 40  # of a whole utterance shown as an example

Pair = tuple[str | None, str | None]


@dataclass(frozen=True)
class AnalysisLimits:
    """Limits of an analysis: rows per table, examples per row, worst utterances."""

    rows: int = 20
    examples: int = 3
    worst: int = 50


def analyze(rows: Iterable[ScoredRow], limits: AnalysisLimits | None = None) -> Analysis:
    """Count the errors of scored rows by word, class, kind and group; reads the rows once, in any order.

    Each row is aligned by the protocol that it was scored with, so the totals match the summary. Time is linear and
    memory bounded: beyond some hundred thousand words, confusions or speakers the rarest are dropped, and
    `Table.missed` bounds the resulting undercount.

    >>> row = ScoredRow(0, "a", "a.wav", "ice cream", normalized_text="ice cream", normalized_hypothesis="nice cream")
    >>> found = analyze([row])
    >>> [(one.reference, one.hypothesis, one.count) for one in found.substitutions]
    [('ice', 'nice', 1)]
    """
    counter = _Counter(limits or AnalysisLimits())
    for aligned in align(counter.scored(rows)):
        counter.add(aligned)
    return counter.result()


@dataclass
class _Sums:
    """The utterances of a group and their word errors."""

    utterances: int = 0
    counts: WordErrors = field(default_factory=WordErrors)

    def add(self, aligned: AlignedRow) -> None:
        self.utterances += 1
        self.counts += aligned.counts

    def group(self, name: str, all_errors: int) -> Group:
        share = self.counts.errors / all_errors if all_errors else 0.0
        return Group(**asdict(self.counts), name=name, utterances=self.utterances, share=share)


class _Groups(dict[str, _Sums]):
    """Sums by name; names beyond the first `GROUPS` are combined."""

    def add(self, name: str, aligned: AlignedRow) -> None:
        if name not in self and len(self) >= GROUPS:
            name = f"more than {GROUPS}, together"
        self.setdefault(name, _Sums()).add(aligned)

    def table(self, count: int, all_errors: int, order: tuple[str, ...] = ()) -> Table[Group]:
        """In the given order, else those with the most errors first."""
        names = [name for name in order if name in self] if order else heapq.nsmallest(count, self, key=self._rank)
        return Table(tuple(self[name].group(name, all_errors) for name in names), len(self))

    def _rank(self, name: str) -> tuple[int, str]:
        return -self[name].counts.errors, name


@dataclass
class _Class:
    """Counts of one word class."""

    confusions: Tally[Pair, Example]
    words: int = 0
    substitutions: int = 0
    deletions: int = 0


@dataclass
class _Kind:
    sums: _Sums = field(default_factory=_Sums)
    examples: list[Example] = field(default_factory=list)


class _Counter:
    """The state of one pass."""

    def __init__(self, limits: AnalysisLimits) -> None:
        def tally() -> Tally[Pair, Example]:
            return Tally(PAIRS, limits.examples)

        self.limits = limits
        self.total = _Sums()
        self.vocabulary = Tally[str, Example](VOCABULARY)
        self.words = {"substitute": tally(), "delete": tally(), "insert": tally()}
        self.compounds = tally()
        self.classes: dict[WordClass, _Class] = {name: _Class(tally()) for name in RULES}
        self.kinds = {kind.key: _Kind() for kind in KINDS}
        self.groups = {name: _Groups() for name in ("language", "speaker", "duration", "noise")}
        self.wrong = 0  # utterances with errors
        self.worst: list[tuple[tuple[int, float, int], AlignedRow]] = []  # a heap, the least bad first
        self.failed: list[FailedUtterance] = []
        self.failures = 0

    def scored(self, rows: Iterable[ScoredRow]) -> Iterator[ScoredRow]:
        """The scored rows; failures are recorded."""
        for row in rows:
            if row.error is None:
                yield row
            else:
                self.failures += 1
                if len(self.failed) < self.limits.rows:
                    self.failed.append(FailedUtterance(row.id, row.row, row.error))

    def add(self, aligned: AlignedRow) -> None:
        self.total.add(aligned)
        self.vocabulary.add_all(aligned.reference)
        for kind in kinds_of(aligned):
            self._add_kind(self.kinds[kind.key], aligned)
        for name, value in _group_names(aligned.row):
            self.groups[name].add(value, aligned)
        classes = classify(aligned.row, aligned.reference)
        for name in classes:
            self.classes[name].words += 1
        self._add_compounds(aligned)
        if aligned.counts.errors:
            self._add_words(aligned, classes)
            self._add_worst(aligned)

    def _add_kind(self, kind: _Kind, aligned: AlignedRow) -> None:
        kind.sums.add(aligned)
        if len(kind.examples) < self.limits.examples:
            row = aligned.row
            as_written = not aligned.counts.errors
            reference = row.text.split() if as_written else aligned.reference
            hypothesis = (row.hypothesis or "").split() if as_written else aligned.hypothesis
            kind.examples.append(Example(row.id, row.row, _cut(reference), _cut(hypothesis)))

    def _add_words(self, aligned: AlignedRow, classes: list[WordClass]) -> None:
        for span in aligned.spans:
            if span.right:
                continue
            for offset in range(
                max(span.reference_end - span.reference_start, span.hypothesis_end - span.hypothesis_start)
            ):
                place = (span.reference_start + offset, span.hypothesis_start + offset)
                reference = None if span.kind == "insert" else aligned.reference[place[0]]
                hypothesis = None if span.kind == "delete" else aligned.hypothesis[place[1]]
                sizes = (int(reference is not None), int(hypothesis is not None))
                example = partial(_example, aligned, place, sizes)
                self.words[span.kind].add((reference, hypothesis), example)
                if reference is not None:
                    found = self.classes[classes[place[0]]]
                    found.confusions.add((reference, hypothesis), example)
                    found.substitutions += hypothesis is not None
                    found.deletions += hypothesis is None

    def _add_compounds(self, aligned: AlignedRow) -> None:
        for first, last in _stretches(aligned.spans):
            reference = aligned.reference[first.reference_start : last.reference_end]
            hypothesis = aligned.hypothesis[first.hypothesis_start : last.hypothesis_end]
            if "".join(reference) == "".join(hypothesis):
                place, sizes = (first.reference_start, first.hypothesis_start), (len(reference), len(hypothesis))
                key = (" ".join(reference), " ".join(hypothesis))
                self.compounds.add(key, partial(_example, aligned, place, sizes))

    def _add_worst(self, aligned: AlignedRow) -> None:
        self.wrong += 1
        rate = aligned.counts.rate
        entry = ((aligned.counts.errors, math.inf if rate is None else rate, -self.wrong), aligned)
        if len(self.worst) < self.limits.worst:
            heapq.heappush(self.worst, entry)
        elif self.worst and entry[0] > self.worst[0][0]:
            heapq.heapreplace(self.worst, entry)

    def result(self) -> Analysis:
        errors, count = self.total.counts.errors, self.limits.rows
        orders = {"duration": _bin_names(SECONDS, "s"), "noise": _bin_names(DECIBELS, "dB")}
        if set(self.groups["noise"]) <= {UNKNOWN}:
            del self.groups["noise"]
        return Analysis(
            total=self.total.group("all", errors),
            substitutions=self._table(self.words["substitute"]),
            deletions=self._table(self.words["delete"]),
            insertions=self._table(self.words["insert"]),
            compounds=self._table(self.compounds),
            classes=tuple(self._class(name) for name in RULES),
            kinds=tuple(self._kinds()),
            groups={key: table.table(count, errors, orders.get(key, ())) for key, table in self.groups.items()},
            worst=Table(tuple(self._worst()), self.wrong),
            failed=Table(tuple(self.failed), self.failures),
        )

    def _table(self, tally: Tally[Pair, Example], count: int | None = None) -> Table[WordCount]:
        rows = tuple(
            WordCount(
                reference,
                hypothesis,
                number,
                self.vocabulary[reference] or None if reference else None,
                tuple(examples),
            )
            for (reference, hypothesis), number, examples in tally.top(self.limits.rows if count is None else count)
        )
        return Table(rows, len(tally), tally.missed)

    def _class(self, name: WordClass) -> ClassErrors:
        found, errors = self.classes[name], self.total.counts.errors
        share = (found.substitutions + found.deletions) / errors if errors else 0.0
        counts = {"words": found.words, "substitutions": found.substitutions, "deletions": found.deletions}
        return ClassErrors(**counts, name=name, rule=RULES[name], share=share, confusions=self._table(found.confusions))

    def _kinds(self) -> Iterator[KindErrors]:
        for kind in KINDS:
            found = self.kinds[kind.key]
            group = found.sums.group(kind.name, self.total.counts.errors)
            yield KindErrors(kind.key, kind.rule, group, tuple(found.examples))

    def _worst(self) -> Iterator[Worst]:
        for _, aligned in sorted(self.worst, key=lambda entry: entry[0], reverse=True):
            yield Worst(aligned, tuple(kind.key for kind in kinds_of(aligned)))


def _stretches(spans: tuple[Span, ...]) -> Iterator[tuple[Span, Span]]:
    """The first and last span of each run of errors; a right compound is a run of its own."""
    for right, group in groupby(spans, key=lambda span: span.right):
        stretch = list(group)
        if not right:
            yield stretch[0], stretch[-1]
        else:
            yield from ((span, span) for span in stretch if span.kind == "compound")


def _example(aligned: AlignedRow, place: tuple[int, int], sizes: tuple[int, int]) -> Example:
    """The words around a place, given by position and length in the reference and in the hypothesis."""
    reference, hypothesis = (
        " ".join(words[max(0, start - _CONTEXT) : start + size + _CONTEXT])
        for words, start, size in zip((aligned.reference, aligned.hypothesis), place, sizes, strict=True)
    )
    return Example(aligned.row.id, aligned.row.row, reference, hypothesis)


def _cut(words: Iterable[str]) -> str:
    words = list(words)
    return " ".join(words if len(words) <= _EXAMPLE_WORDS else [*words[:_EXAMPLE_WORDS], "…"])


def _group_names(row: ScoredRow) -> Iterator[tuple[str, str]]:
    yield "language", row.language or UNKNOWN
    yield "speaker", row.speaker or UNKNOWN
    yield "duration", _bin(row.duration or None, SECONDS, "s")
    yield "noise", _bin(getattr(row, "snr", None), DECIBELS, "dB")


def _bin(value: float | None, ends: tuple[int, ...], unit: str) -> str:
    return UNKNOWN if value is None else _bin_names(ends, unit)[bisect_right(ends, value)]


@cache
def _bin_names(ends: tuple[int, ...], unit: str) -> tuple[str, ...]:
    """Names of the bins from low to high, each without its end, and of what is not known.

    >>> _bin_names((2, 5), "s")
    ('under 2 s', '2 to 5 s', '5 s and more', 'unknown')
    """
    inner = (f"{low} to {high} {unit}" for low, high in pairwise(ends))
    return (f"under {ends[0]} {unit}", *inner, f"{ends[-1]} {unit} and more", UNKNOWN)
