"""The hypotheses of a file, and what is irregular about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from linnet.data.sources.base import MOST_NAMED, Problem
from linnet.transcription.transcript import Word


@dataclass(frozen=True, slots=True)
class UtteranceHypothesis:
    """The hypothesis of one utterance; an empty text means that no words were recognized."""

    id: str  # from the file; for lines without ids, the line number
    text: str
    words: tuple[Word, ...] = ()  # with times, from CTM files
    reference: str | None = None  # if the file has it
    seconds: float | None = None  # of computation
    duration: float | None = None  # of audio


@dataclass
class NameCount:
    """A count, with the first names."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count a name."""
        self.count += 1
        if len(self.first) < MOST_NAMED:
            self.first.append(name)

    def lines(self, sentence: str) -> list[str]:
        """`sentence` with the count in place of {}, followed by the names; empty if the count is 0."""
        if not self.count:
            return []
        more = [f"  and {self.count - len(self.first)} more"] if self.count > len(self.first) else []
        return [sentence.format(self.count), *(f"  {name}" for name in self.first), *more]


@dataclass
class HypothesisFile:
    """The hypotheses of one file by id, in order.

    `kind` is its format, `looks` how that was detected. `bad` rows hold no hypothesis, the last of `duplicates` counts,
    `failed` utterances have an error instead, and `alternatives` of a CTM file were skipped.
    """

    path: Path
    kind: str
    looks: str
    rows: dict[str, UtteranceHypothesis] = field(default_factory=dict)
    bad: NameCount = field(default_factory=NameCount)
    duplicates: NameCount = field(default_factory=NameCount)
    failed: NameCount = field(default_factory=NameCount)
    alternatives: int = 0

    def take(self, found: Iterable[UtteranceHypothesis | Problem]) -> None:
        """Add the results of a reader."""
        for one in found:
            if isinstance(one, Problem):
                self.bad.add(str(one))
                continue
            if one.id in self.rows:
                self.duplicates.add(one.id)
                del self.rows[one.id]
            self.rows[one.id] = one

    def lines(self) -> list[str]:
        """Notices: the detected format, then everything irregular."""
        lines = [f"{self.path}: {len(self.rows)} hypotheses, read as {self.kind} ({self.looks})"]
        lines += self.bad.lines(f"{self.path}: {{}} rows hold no hypothesis")
        lines += self.duplicates.lines(f"{self.path}: {{}} rows have the id of an earlier one; the last one counts")
        lines += self.failed.lines(f"{self.path}: {{}} utterances have an error instead of a hypothesis")
        if self.alternatives:
            lines.append(f"{self.path}: {self.alternatives} alternatives skipped: the first of each group counts")
        return lines
