"""Said and heard words side by side, by jiwer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal, NamedTuple

from linnet.evaluation.log import ScoredRow

Operation = Literal["equal", "substitute", "delete", "insert"]

_BATCH = 512  # rows for which jiwer is called at once


class Span(NamedTuple):
    """Said words [start, end) that stand against heard words [start, end)."""

    kind: Operation
    said_start: int
    said_end: int
    heard_start: int
    heard_end: int


class Step(NamedTuple):
    """One word of an alignment; `said` is None for an inserted word, `heard` for a deleted one."""

    kind: Operation
    said: str | None
    heard: str | None


@dataclass(frozen=True)
class Aligned:
    """A row, its normalised words, and a minimal alignment of them (Levenshtein 1966)."""

    row: ScoredRow
    said: Sequence[str]
    heard: Sequence[str]
    spans: tuple[Span, ...]

    @cached_property
    def substitutions(self) -> int:
        """Words heard as another word."""
        return sum(span.said_end - span.said_start for span in self.spans if span.kind == "substitute")

    @cached_property
    def deletions(self) -> int:
        """Words said and not heard."""
        return sum(span.said_end - span.said_start for span in self.spans if span.kind == "delete")

    @cached_property
    def insertions(self) -> int:
        """Words heard that were not said."""
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
            else:
                yield from (Step(span.kind, *pair) for pair in zip(said, heard, strict=True))


def align(rows: Iterable[ScoredRow]) -> Iterator[Aligned]:
    """Align the normalised texts of each row, in order, a few hundred rows in memory; unscored rows are left out.

    A row without normalised texts is compared as it is written. Words are what whitespace separates.

    >>> row = ScoredRow(0, "a", "a.wav", "ice cream", normalized_text="ice cream", normalized_hypothesis="nice cream")
    >>> [tuple(step) for step in next(align([row])).steps()]
    [('substitute', 'ice', 'nice'), ('equal', 'cream', 'cream')]
    """
    scored = (row for row in rows if row.error is None)
    while batch := list(islice(scored, _BATCH)):
        yield from _align_batch(batch)


def texts(row: ScoredRow) -> tuple[str, str]:
    """What is compared: the normalised reference and hypothesis, else the raw ones."""
    said = row.text if row.normalized_text is None else row.normalized_text
    heard = row.hypothesis if row.normalized_hypothesis is None else row.normalized_hypothesis
    return said, heard or ""


def _align_batch(rows: Sequence[ScoredRow]) -> Iterator[Aligned]:
    words = [tuple(text.split() for text in texts(row)) for row in rows]
    spans = iter(_spans([(said, heard) for said, heard in words if said and heard and said != heard]))
    for row, (said, heard) in zip(rows, words, strict=True):
        if said == heard:
            found: tuple[Span, ...] = (Span("equal", 0, len(said), 0, len(heard)),) if said else ()
        elif not said or not heard:
            found = (Span("insert" if heard else "delete", 0, len(said), 0, len(heard)),)
        else:
            found = next(spans)
        yield Aligned(row, said, heard, found)


def _spans(pairs: Sequence[tuple[list[str], list[str]]]) -> list[tuple[Span, ...]]:
    """The alignments of pairs of texts that both have words."""
    if not pairs:
        return []
    import jiwer

    found = jiwer.process_words([" ".join(said) for said, _ in pairs], [" ".join(heard) for _, heard in pairs])
    return [
        tuple(
            Span(part.type, part.ref_start_idx, part.ref_end_idx, part.hyp_start_idx, part.hyp_end_idx)
            for part in alignment
        )
        for alignment in found.alignments
    ]
