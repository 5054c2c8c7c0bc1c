"""Said and heard words side by side, aligned by the protocol that counted a row's errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from linnet.evaluation.log import ScoredRow
from linnet.evaluation.matching import hypothesis_words, reference_words
from linnet.scoring.alignment import Operation, Span, find_spans


class Step(NamedTuple):
    """One word of an alignment; `said` is None for an inserted word, `heard` for a deleted one.

    A compound that the protocol takes for right is one step of the kind `equal`: `ice cream`, `icecream`.
    """

    kind: Operation
    said: str | None
    heard: str | None


@dataclass(frozen=True)
class AlignedRow:
    """A row, its normalized words, and the alignment of them that its errors were counted by."""

    row: ScoredRow
    said: Sequence[str]
    heard: Sequence[str]
    spans: tuple[Span, ...]

    @cached_property
    def substitutions(self) -> int:
        """Substituted words."""
        return sum(span.said_end - span.said_start for span in self.spans if span.kind == "substitute")

    @cached_property
    def deletions(self) -> int:
        """Deleted words."""
        return sum(span.said_end - span.said_start for span in self.spans if span.kind == "delete")

    @cached_property
    def insertions(self) -> int:
        """Inserted words."""
        return sum(span.heard_end - span.heard_start for span in self.spans if span.kind == "insert")

    @cached_property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per said word; None where nothing was said."""
        return self.errors / len(self.said) if self.said else None

    def steps(self) -> Iterator[Step]:
        """The alignment word by word."""
        for span in self.spans:
            said = self.said[span.said_start : span.said_end]
            heard = self.heard[span.heard_start : span.heard_end]
            if span.kind == "delete":
                yield from (Step("delete", word, None) for word in said)
            elif span.kind == "insert":
                yield from (Step("insert", None, word) for word in heard)
            elif span.kind == "compound":
                yield Step("equal", " ".join(said), " ".join(heard))
            else:
                yield from (Step(span.kind, *pair) for pair in zip(said, heard, strict=True))


def align(rows: Iterable[ScoredRow]) -> Iterator[AlignedRow]:
    """Align the normalized texts of each row by its protocol, in order; unscored rows are left out.

    A row without normalized texts is compared as it is written. Words are what whitespace separates.

    >>> row = ScoredRow(0, "a", "a.wav", "ice cream", normalized_text="ice cream", normalized_hypothesis="nice cream")
    >>> [tuple(step) for step in next(align([row])).steps()]
    [('substitute', 'ice', 'nice'), ('equal', 'cream', 'cream')]
    """
    for row in rows:
        if row.error is None:
            said, heard = reference_words(row), hypothesis_words(row)
            yield AlignedRow(row, said, heard, find_spans(said, heard, row.protocol))
