"""The common part of all sources: a stream of utterances and a report of invalid rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from linnet.data.manifest import Utterance
from linnet.data.sources.seen import IdSet

MOST_NAMED = 10  # invalid rows; all are counted


@dataclass(frozen=True)
class SourceSpec:
    """Where utterances are and how to read them.

    `path` is a file, a folder or a Hub id; `kind` one of `KINDS`, by default detected. `subset`, `split` and `revision`
    apply to data sets on the Hub. `text` and `audio` name the key or column of the reference and of the audio, by
    default detected; `language` applies to rows that name none. `parent` is the data set with the texts of the
    recordings (kind `hub-chunks`).
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
    """An invalid row: its location and the reason."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Skip:
    """A row marked to be skipped (`_skipme`)."""


Found: TypeAlias = Utterance | Problem | Skip
Reader: TypeAlias = Callable[[SourceSpec], Iterator[Found]]


@dataclass
class SourceReport:
    """What was read so far; complete at the end of the source.

    `bad` rows are invalid, `skipped` ones marked so, `renamed` ones had a duplicate id (`#` and the row number were
    appended), `without_text` ones cannot be scored.
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
        """Notices for the user; empty if nothing is wrong."""
        lines = []
        if self.bad:
            lines.append(f"{self.source}: {self.bad} of {self.bad + self.rows + self.skipped} rows cannot be used")
            lines += [f"  {problem}" for problem in self.problems]
            lines += _and_more(self.bad, self.problems)
        if self.renamed:
            lines.append(f"{self.source}: {self.renamed} rows have the id of an earlier row and were renamed")
            lines += [f"  {name}" for name in self.renamings] + _and_more(self.renamed, self.renamings)
        if self.skipped:
            lines.append(f"{self.source}: {self.skipped} rows are marked to be skipped (_skipme)")
        if self.without_text:
            lines.append(f"{self.source}: {self.without_text} of {self.rows} rows have no reference text")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def _and_more(count: int, named: list[Any]) -> list[str]:
    return [f"  and {count - len(named)} more"] if count > len(named) else []


class Source:
    """A lazy, re-iterable source of utterances in constant memory.

    Invalid rows are skipped: `report` counts them and names the first. Duplicate ids get `#` and the row number
    appended. `looks` says how the kind was detected.
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
        """Read from the beginning with a new report."""
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
        """The first utterance, to find out early whether the source can be read."""
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
