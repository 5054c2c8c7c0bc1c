"""The result of an error analysis, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from linnet.evaluation.errors.classes import WordClass
from linnet.evaluation.errors.steps import AlignedRow
from linnet.scoring.scores import WordErrors
from linnet.urls import public_name

Item = TypeVar("Item")


@dataclass(frozen=True)
class Table(Generic[Item]):
    """The first rows of a list and its full length; `missed` bounds the undercount of each row."""

    rows: tuple[Item, ...]
    total: int
    missed: int = 0

    def __iter__(self) -> Iterator[Item]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Group(WordErrors):
    """The word errors of a group of utterances; `share` is its part of all errors (0 to 1)."""

    name: str
    utterances: int
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "errors": self.errors, "wer": self.rate}


@dataclass(frozen=True)
class Example:
    """A place in an utterance, as reference and hypothesis words."""

    id: str
    row: int
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class WordCount:
    """How often `reference` was recognized as `hypothesis`; `reference` is None for an insertion, `hypothesis` for a
    deletion.

    `occurrences`: how often `reference` is in the references at all.
    """

    reference: str | None
    hypothesis: str | None
    count: int
    occurrences: int | None
    examples: tuple[Example, ...]


@dataclass(frozen=True, kw_only=True)
class ClassErrors(WordErrors):
    """Errors on the reference words that are numbers, names or other; `share` is their part of all errors (0 to 1).

    Insertions belong to no class, since no reference word is aligned with them: their count is 0 here.
    """

    name: WordClass
    rule: str
    share: float
    confusions: Table[WordCount]


@dataclass(frozen=True)
class KindErrors:
    """Errors of the utterances of one kind."""

    key: str
    rule: str
    group: Group
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Worst:
    """One of the utterances with the most errors, and the keys of its kinds."""

    aligned: AlignedRow
    kinds: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        it = self.aligned
        return {
            "id": it.row.id,
            "row": it.row.row,
            "audio": public_name(it.row.audio),
            **asdict(it.counts),
            "kinds": list(self.kinds),
            "alignment": [list(step) for step in it.steps()],
        }


@dataclass(frozen=True)
class FailedUtterance:
    """An utterance that could not be scored."""

    id: str
    row: int
    error: str


@dataclass(frozen=True)
class Analysis:
    """The errors of an evaluation by word, class, kind and group, from the alignment used for scoring.

    `groups` holds the tables by language, speaker, duration and, if known, noise level.
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
