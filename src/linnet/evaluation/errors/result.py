"""What an error analysis comes to, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from linnet.evaluation.errors.classes import WordClass
from linnet.evaluation.errors.steps import AlignedRow
from linnet.urls import public_name

Item = TypeVar("Item")


@dataclass(frozen=True)
class Table(Generic[Item]):
    """The first rows of a longer list, and how long it is; `missed`: counts may be that much too small."""

    rows: tuple[Item, ...]
    total: int
    missed: int = 0

    def __iter__(self) -> Iterator[Item]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Group:
    """The word errors of some utterances; `share` is their part of all errors (0 to 1)."""

    name: str
    utterances: int
    words: int
    substitutions: int
    deletions: int
    insertions: int
    share: float

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float | None:
        """Errors per word of the references; None where they have no word."""
        return self.errors / self.words if self.words else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "errors": self.errors, "wer": self.wer}


@dataclass(frozen=True)
class Example:
    """A place in an utterance: the words said there and the words heard."""

    id: str
    row: int
    said: str
    heard: str


@dataclass(frozen=True)
class WordCount:
    """How often `said` was recognized as `heard`; `said` is None for an insertion, `heard` for a deletion.

    `occurrences`: how often `said` is in the references at all.
    """

    said: str | None
    heard: str | None
    count: int
    occurrences: int | None
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class ClassErrors:
    """The words of the references that are numbers, names or other; `share` is their part of all errors.

    Inserted words belong to no class, since nobody said them.
    """

    name: WordClass
    rule: str
    words: int
    substitutions: int
    deletions: int
    share: float
    confusions: Table[WordCount]

    @property
    def errors(self) -> int:
        """Substitutions and deletions."""
        return self.substitutions + self.deletions

    @property
    def rate(self) -> float | None:
        """Share of these words with errors; None where there are none."""
        return self.errors / self.words if self.words else None


@dataclass(frozen=True)
class KindErrors:
    """The utterances of one kind."""

    key: str
    rule: str
    group: Group
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Worst:
    """One of the utterances with the most errors, and the keys of the kinds it is of."""

    aligned: AlignedRow
    kinds: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        it = self.aligned
        return {
            "id": it.row.id,
            "row": it.row.row,
            "audio": public_name(it.row.audio),
            "words": len(it.said),
            "substitutions": it.substitutions,
            "deletions": it.deletions,
            "insertions": it.insertions,
            "kinds": list(self.kinds),
            "alignment": [list(step) for step in it.steps()],
        }


@dataclass(frozen=True)
class FailedUtterance:
    """An utterance that was not scored."""

    id: str
    row: int
    error: str


@dataclass(frozen=True)
class Analysis:
    """The errors of an evaluation by word, class, kind and group, from the alignment that they were counted by.

    `groups` holds the tables by language, speaker, duration and, where it is known, level of noise.
    """

    total: Group
    substitutions: Table[WordCount]
    deletions: Table[WordCount]
    insertions: Table[WordCount]
    compounds: Table[WordCount]
    classes: tuple[ClassErrors, ...]
    kinds: tuple[KindErrors, ...]
    groups: Mapping[str, Table[Group]]
    worst: Table[Worst]
    failed: Table[FailedUtterance]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "total": self.total.to_dict(),
            **{name: asdict(getattr(self, name)) for name in ("substitutions", "deletions", "insertions", "compounds")},
            "classes": [{**asdict(one), "errors": one.errors, "rate": one.rate} for one in self.classes],
            "kinds": [{**asdict(one), "group": one.group.to_dict()} for one in self.kinds],
            "groups": {name: [group.to_dict() for group in table] for name, table in self.groups.items()},
            "worst": [one.to_dict() for one in self.worst],
            "failed": asdict(self.failed),
        }

    def text(self, rows: int = 10) -> str:
        """Short tables for a terminal, at most `rows` lines each."""
        from linnet.evaluation.errors.text import render

        return render(self, rows)
