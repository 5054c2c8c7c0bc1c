"""What every kind of source gives: utterances one by one, and a report of the rows that were none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from linnet.data.manifest import Utterance
from linnet.data.sources.seen import IdSet

MOST_NAMED = 10  # of the rows with something wrong; all are counted


@dataclass(frozen=True)
class SourceSpec:
    """Where utterances are and how to read them.

    `path` is a file, a folder or a Hub id; `kind` one of `KINDS`, by default found by looking. `subset`, `split` and
    `revision` are those of a data set on the Hub. `text` and `audio` name the key or column of the reference and of
    the sound, where they are not found by themselves; `language` is that of rows that name none. `parent` is the data
    set with the texts of the recordings whose pieces this one has (kind `hub-chunks`).
    """

    path: str
    kind: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    text: str | None = None
    audio: str | None = None
    language: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that is no utterance: where it stands, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Skip:
    """A row that asks to be left out (`_skipme`)."""


Found: TypeAlias = Utterance | Problem | Skip
Reader: TypeAlias = Callable[[SourceSpec], Iterator[Found]]


@dataclass
class SourceReport:
    """What was read so far; complete once the source was read to its end.

    `rows` utterances, `bad` rows that are none, `skipped` ones that ask for it, `renamed` ones whose id an earlier
    row has (their new one ends in `#` and the number of the row), `without_text` ones that cannot be scored.
    """

    source: str
    kind: str
    rows: int = 0
    bad: int = 0
    skipped: int = 0
    renamed: int = 0
    without_text: int = 0
    problems: list[Problem] = field(default_factory=list)  # the first bad rows
    renamings: list[str] = field(default_factory=list)  # the first new ids

    def lines(self) -> list[str]:
        """Sentences for the user; none where nothing is wrong."""
        said = []
        if self.bad:
            said.append(f"{self.source}: {self.bad} of {self.bad + self.rows + self.skipped} rows cannot be used")
            said += [f"  {problem}" for problem in self.problems]
            said += _and_more(self.bad, self.problems)
        if self.renamed:
            said.append(f"{self.source}: {self.renamed} rows have the id of an earlier row and were renamed")
            said += [f"  {name}" for name in self.renamings] + _and_more(self.renamed, self.renamings)
        if self.skipped:
            said.append(f"{self.source}: {self.skipped} rows are marked to be left out (_skipme)")
        if self.without_text:
            said.append(f"{self.source}: {self.without_text} of {self.rows} rows have no reference text")
        return said

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def _and_more(count: int, named: list[Any]) -> list[str]:
    return [f"  and {count - len(named)} more"] if count > len(named) else []


class Source:
    """Utterances that are read when they are asked for, in constant memory, as often as it is iterated.

    A row that is no utterance never ends it: `report` counts such rows and names the first. Ids are unique: a row
    whose id was there before gets `#` and its number added. `looks` says why it was taken for what it is.
    """

    def __init__(self, spec: SourceSpec, kind: str, read: Reader, looks: str) -> None:
        self.spec = spec
        self.kind = kind
        self.looks = looks
        self._read = read
        self.report = self._empty()

    @property
    def name(self) -> str:
        """The path or the Hub id, with subset and split."""
        return " ".join(part for part in (self.spec.path, self.spec.subset, self.spec.split) if part)

    def _empty(self) -> SourceReport:
        return SourceReport(self.name, self.kind)

    def __iter__(self) -> Iterator[Utterance]:
        """Read from the beginning, with a new report."""
        report = self.report = self._empty()
        seen = IdSet()
        for number, found in enumerate(self._read(self.spec), start=1):
            if isinstance(found, Utterance):
                yield self._count(found, number, seen, report)
            elif isinstance(found, Skip):
                report.skipped += 1
            else:
                report.bad += 1
                if len(report.problems) < MOST_NAMED:
                    report.problems.append(found)

    def peek(self) -> Utterance | None:
        """The first utterance; so that a source that cannot be had says so before others are worked on."""
        return next(iter(self), None)

    def _count(self, found: Utterance, number: int, seen: IdSet, report: SourceReport) -> Utterance:
        report.rows += 1
        report.without_text += found.text is None
        changes: dict[str, Any] = {}
        if not seen.add(found.id):
            changes["id"] = name = f"{found.id}#{number}"
            seen.add(name)
            report.renamed += 1
            if len(report.renamings) < MOST_NAMED:
                report.renamings.append(f"{found.id}, now {name}")
        if found.language is None and self.spec.language is not None:
            changes["language"] = self.spec.language
        return replace(found, **changes) if changes else found
