"""One pass over the rows of an evaluation, in memory that does not grow with their number."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
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

SECONDS = (2, 5, 10, 20, 30, 60)  # where the bins of the duration end
DECIBELS = (0, 5, 10, 15, 20, 30)  # where the bins of the signal to noise ratio end
UNKNOWN = "not known"
GROUPS = 100_000  # speakers or languages that are distinguished
VOCABULARY = 500_000  # words that are distinguished
PAIRS = 50_000  # confusions that are distinguished, with their examples

_CONTEXT = 3  # words on either side of an example
_EXAMPLE_WORDS = 40  # of a whole utterance as an example

Pair = tuple[str | None, str | None]


@dataclass(frozen=True)
class AnalysisLimits:
    """How many of each are kept: rows of a table, examples of each row, worst utterances."""

    rows: int = 20
    examples: int = 3
    worst: int = 50


def analyze(rows: Iterable[ScoredRow], limits: AnalysisLimits | None = None) -> Analysis:
    """Count the errors of scored rows by word, class, kind and group; reads the rows once, in any order.

    Each row's texts are aligned by the protocol that counted it, so the totals are a summary's. Time is linear in the
    rows, memory bounded: of words, confusions and speakers beyond some hundred thousand the rarest are forgotten, and
    `Table.missed` says by how much counts may be too small.

    >>> row = ScoredRow(0, "a", "a.wav", "ice cream", normalized_text="ice cream", normalized_hypothesis="nice cream")
    >>> found = analyze([row])
    >>> [(one.said, one.heard, one.count) for one in found.substitutions]
    [('ice', 'nice', 1)]
    """
    counter = _Counter(limits or AnalysisLimits())
    for aligned in align(counter.scored(rows)):
        counter.add(aligned)
    return counter.result()


class _Sums:
    """Word errors of a group, added up."""

    __slots__ = ("deletions", "insertions", "substitutions", "utterances", "words")

    def __init__(self) -> None:
        self.utterances = self.words = self.substitutions = self.deletions = self.insertions = 0

    def add(self, aligned: AlignedRow) -> None:
        self.utterances += 1
        self.words += len(aligned.said)
        if aligned.errors:
            self.substitutions += aligned.substitutions
            self.deletions += aligned.deletions
            self.insertions += aligned.insertions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    def group(self, name: str, all_errors: int) -> Group:
        counts = (self.utterances, self.words, self.substitutions, self.deletions, self.insertions)
        return Group(name, *counts, share=self.errors / all_errors if all_errors else 0.0)


class _Groups(dict[str, _Sums]):
    """Sums by name; names beyond the first `GROUPS` are put together."""

    def add(self, name: str, aligned: AlignedRow) -> None:
        sums = self.get(name)
        if sums is None:
            if len(self) >= GROUPS:
                name = f"more than {GROUPS}, together"
            sums = self.setdefault(name, _Sums())
        sums.add(aligned)

    def table(self, count: int, all_errors: int, order: tuple[str, ...] = ()) -> Table[Group]:
        """In a given order, else those with the most errors first."""
        if order:
            names = [name for name in order if name in self]
        else:
            names = heapq.nsmallest(count, self, key=lambda name: (-self[name].errors, name))
        return Table(tuple(self[name].group(name, all_errors) for name in names), len(self))


@dataclass
class _Class:
    """What is known of a class of words."""

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
        """The rows that were scored; the others are noted."""
        for row in rows:
            if row.error is None:
                yield row
            else:
                self.failures += 1
                if len(self.failed) < self.limits.rows:
                    self.failed.append(FailedUtterance(row.id, row.row, row.error))

    def add(self, aligned: AlignedRow) -> None:
        self.total.add(aligned)
        self.vocabulary.add_all(aligned.said)
        for kind in kinds_of(aligned):
            self._add_kind(self.kinds[kind.key], aligned)
        for name, value in _group_names(aligned.row):
            self.groups[name].add(value, aligned)
        classes = classify(aligned.row, aligned.said)
        for name in classes:
            self.classes[name].words += 1
        self._add_compounds(aligned)
        if aligned.errors:
            self._add_words(aligned, classes)
            self._add_worst(aligned)

    def _add_kind(self, kind: _Kind, aligned: AlignedRow) -> None:
        kind.sums.add(aligned)
        if len(kind.examples) < self.limits.examples:
            row = aligned.row
            as_written = not aligned.errors
            said = row.text.split() if as_written else aligned.said
            heard = (row.hypothesis or "").split() if as_written else aligned.heard
            kind.examples.append(Example(row.id, row.row, _cut(said), _cut(heard)))

    def _add_words(self, aligned: AlignedRow, classes: list[WordClass]) -> None:
        for span in aligned.spans:
            if span.right:
                continue
            for offset in range(max(span.said_end - span.said_start, span.heard_end - span.heard_start)):
                place = (span.said_start + offset, span.heard_start + offset)
                said = None if span.kind == "insert" else aligned.said[place[0]]
                heard = None if span.kind == "delete" else aligned.heard[place[1]]
                sizes = (int(said is not None), int(heard is not None))
                example = partial(_example, aligned, place, sizes)
                self.words[span.kind].add((said, heard), example)
                if said is not None:
                    found = self.classes[classes[place[0]]]
                    found.confusions.add((said, heard), example)
                    found.substitutions += heard is not None
                    found.deletions += heard is None

    def _add_compounds(self, aligned: AlignedRow) -> None:
        for first, last in _stretches(aligned.spans):
            said = aligned.said[first.said_start : last.said_end]
            heard = aligned.heard[first.heard_start : last.heard_end]
            if "".join(said) == "".join(heard):
                place, sizes = (first.said_start, first.heard_start), (len(said), len(heard))
                key = (" ".join(said), " ".join(heard))
                self.compounds.add(key, partial(_example, aligned, place, sizes))

    def _add_worst(self, aligned: AlignedRow) -> None:
        self.wrong += 1
        rate = aligned.rate
        entry = ((aligned.errors, math.inf if rate is None else rate, -self.wrong), aligned)
        if len(self.worst) < self.limits.worst:
            heapq.heappush(self.worst, entry)
        elif self.worst and entry[0] > self.worst[0][0]:
            heapq.heapreplace(self.worst, entry)

    def result(self) -> Analysis:
        errors, count = self.total.errors, self.limits.rows
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
            WordCount(said, heard, number, self.vocabulary[said] or None if said else None, tuple(examples))
            for (said, heard), number, examples in tally.top(self.limits.rows if count is None else count)
        )
        return Table(rows, len(tally), tally.missed)

    def _class(self, name: WordClass) -> ClassErrors:
        found, errors = self.classes[name], self.total.errors
        share = (found.substitutions + found.deletions) / errors if errors else 0.0
        confusions = self._table(found.confusions)
        return ClassErrors(name, RULES[name], found.words, found.substitutions, found.deletions, share, confusions)

    def _kinds(self) -> Iterator[KindErrors]:
        for kind in KINDS:
            found = self.kinds[kind.key]
            group = found.sums.group(kind.name, self.total.errors)
            yield KindErrors(kind.key, kind.rule, group, tuple(found.examples))

    def _worst(self) -> Iterator[Worst]:
        for _, aligned in sorted(self.worst, key=lambda entry: entry[0], reverse=True):
            yield Worst(aligned, tuple(kind.key for kind in kinds_of(aligned)))


def _stretches(spans: tuple[Span, ...]) -> Iterator[tuple[Span, Span]]:
    """The first and last span of each stretch of errors between words that are right; a right compound is its own."""
    for right, group in groupby(spans, key=lambda span: span.right):
        stretch = list(group)
        if not right:
            yield stretch[0], stretch[-1]
        else:
            yield from ((span, span) for span in stretch if span.kind == "compound")


def _example(aligned: AlignedRow, place: tuple[int, int], sizes: tuple[int, int]) -> Example:
    """The words around a place (said, heard) that is that many words (said, heard) long."""
    said, heard = (
        " ".join(words[max(0, start - _CONTEXT) : start + size + _CONTEXT])
        for words, start, size in zip((aligned.said, aligned.heard), place, sizes, strict=True)
    )
    return Example(aligned.row.id, aligned.row.row, said, heard)


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
    ('under 2 s', '2 to 5 s', '5 s and more', 'not known')
    """
    inner = (f"{low} to {high} {unit}" for low, high in pairwise(ends))
    return (f"under {ends[0]} {unit}", *inner, f"{ends[-1]} {unit} and more", UNKNOWN)
