"""What some system heard, as it stands in a file, and what was odd about the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from linnet.data.sources.base import MOST_NAMED, Problem
from linnet.transcription.transcript import Word


@dataclass(frozen=True, slots=True)
class UtteranceHypothesis:
    """What was heard in one utterance. An empty text says that nothing was."""

    id: str  # as the file has it; of lines without one, the number of the line
    text: str
    words: tuple[Word, ...] = ()  # with their times, of CTM files
    reference: str | None = None  # where the file has it too
    seconds: float | None = None  # of work
    duration: float | None = None  # of audio


@dataclass
class NameCount:
    """How many, and the names of the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < MOST_NAMED:
            self.first.append(name)

    def lines(self, sentence: str) -> list[str]:
        """`sentence` with the count in the place of {}, and the names below it; nothing where there are none."""
        if not self.count:
            return []
        more = [f"  and {self.count - len(self.first)} more"] if self.count > len(self.first) else []
        return [sentence.format(self.count), *(f"  {name}" for name in self.first), *more]


@dataclass
class HypothesisFile:
    """The hypotheses of one file by their ids, in its order.

    `kind` is what it was taken for, `looks` why. `bad` rows hold no hypothesis; of `duplicates` the last one counts;
    `failed` ones are those that the system itself gave up on. `alternatives` were left out of a CTM file: its first one
    is what counts.
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
        """Add what a reader found."""
        for one in found:
            if isinstance(one, Problem):
                self.bad.add(str(one))
                continue
            if one.id in self.rows:
                self.duplicates.add(one.id)
                del self.rows[one.id]
            self.rows[one.id] = one

    def lines(self) -> list[str]:
        """Sentences for the user: what it was taken for, then all that is odd."""
        said = [f"{self.path}: {len(self.rows)} hypotheses, read as {self.kind} ({self.looks})"]
        said += self.bad.lines(f"{self.path}: {{}} rows hold no hypothesis")
        said += self.duplicates.lines(f"{self.path}: {{}} rows have the id of an earlier one; the last one counts")
        said += self.failed.lines(f"{self.path}: {{}} utterances have an error instead of a hypothesis")
        if self.alternatives:
            said.append(f"{self.path}: {self.alternatives} alternatives left out: the first of each group counts")
        return said
