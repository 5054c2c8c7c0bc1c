"""Which word was heard for which: a minimal alignment, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Alignment:
    """For each of n reference words what was heard for it, and what was heard between them."""

    reference: tuple[str, ...]  # [n]
    heard: tuple[str | None, ...]  # [n]; None: deleted
    inserted: tuple[tuple[str, ...], ...]  # [n + 1]: before each reference word, and after the last

    @property
    def wrong(self) -> list[bool]:
        """Whether each reference word was substituted or deleted, [n]."""
        return [heard != word for word, heard in zip(self.reference, self.heard, strict=True)]


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Align by rapidfuzz's Levenshtein, whose counts are those of `scores.edits`.

    >>> align("a b c".split(), "a x b d".split()).heard
    ('a', 'b', 'd')
    """
    from rapidfuzz.distance import Levenshtein

    heard: list[str | None] = list(reference)
    inserted: list[list[str]] = [[] for _ in range(len(reference) + 1)]
    for step in Levenshtein.editops(reference, hypothesis):
        if step.tag == "insert":
            inserted[step.src_pos].append(hypothesis[step.dest_pos])
        else:
            heard[step.src_pos] = None if step.tag == "delete" else hypothesis[step.dest_pos]
    return Alignment(tuple(reference), tuple(heard), tuple(map(tuple, inserted)))
