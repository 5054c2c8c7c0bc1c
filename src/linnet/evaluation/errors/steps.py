"""Word alignments of rows, by the protocol that counted their errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from linnet.evaluation.log import ScoredRow
from linnet.evaluation.matching import hypothesis_words, reference_words
from linnet.scoring.alignment import Operation, Span, find_spans
from linnet.scoring.scores import WordErrors


class Step(NamedTuple):
    """One word of an alignment; `reference` is None for an inserted word, `hypothesis` for a deleted one.

    A compound that the protocol counts as right is one step of the kind `equal`: `ice cream`, `icecream`.
    """

    kind: Operation
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class AlignedRow:
    """A row with its normalized words and the alignment that its errors were counted by."""

    row: ScoredRow
    reference: Sequence[str]
    hypothesis: Sequence[str]
    spans: tuple[Span, ...]

    @cached_property
    def counts(self) -> WordErrors:
        """The word errors of the alignment."""
        sizes: Counter[Operation] = Counter()
        for span in self.spans:
            words = (span.reference_end - span.reference_start) or (span.hypothesis_end - span.hypothesis_start)
            sizes[span.kind] += words
        return WordErrors(len(self.reference), sizes["substitute"], sizes["delete"], sizes["insert"])

    def steps(self) -> Iterator[Step]:
        """The alignment word by word."""
        for span in self.spans:
            reference = self.reference[span.reference_start : span.reference_end]
            hypothesis = self.hypothesis[span.hypothesis_start : span.hypothesis_end]
            if span.kind == "delete":
                yield from (Step("delete", word, None) for word in reference)
            elif span.kind == "insert":
                yield from (Step("insert", None, word) for word in hypothesis)
            elif span.kind == "compound":
                yield Step("equal", " ".join(reference), " ".join(hypothesis))
            else:
                yield from (Step(span.kind, *pair) for pair in zip(reference, hypothesis, strict=True))


def align(rows: Iterable[ScoredRow]) -> Iterator[AlignedRow]:
    """Align the normalized texts of each row by its protocol, in order; unscored rows are skipped.

    A row without normalized texts is aligned as written. Words are separated by whitespace.

    >>> row = ScoredRow(0, "a", "a.wav", "ice cream", normalized_text="ice cream", normalized_hypothesis="nice cream")
    >>> [tuple(step) for step in next(align([row])).steps()]
    [('substitute', 'ice', 'nice'), ('equal', 'cream', 'cream')]
    """
    for row in rows:
        if row.error is None:
            reference, hypothesis = reference_words(row), hypothesis_words(row)
            yield AlignedRow(row, reference, hypothesis, find_spans(reference, hypothesis, row.protocol))
