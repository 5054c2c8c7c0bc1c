"""Word errors, and the word error rate of a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class WordErrors:
    """Counts of a minimal alignment (Levenshtein 1966) of hypothesis words with reference words."""

    words: int = 0  # of the reference
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per reference word, 0.05 for 5 %; `None` where there are no reference words."""
        return self.errors / self.words if self.words else None

    def __add__(self, other: WordErrors) -> WordErrors:
        """The counts of both together."""
        return WordErrors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def count_errors(reference: str, hypothesis: str) -> WordErrors:
    """Align two texts word by word, by jiwer; words are what whitespace separates.

    An empty reference has no words: all that was heard is insertions.

    >>> count_errors("three one four", "three four four five")
    WordErrors(words=3, substitutions=1, deletions=0, insertions=1)
    """
    words, heard = reference.split(), hypothesis.split()
    if not words or not heard:
        return WordErrors(len(words), deletions=len(words), insertions=len(heard))
    import jiwer

    found = jiwer.process_words(" ".join(words), " ".join(heard))
    return WordErrors(len(words), found.substitutions, found.deletions, found.insertions)


def total(counts: Iterable[WordErrors]) -> WordErrors:
    """The counts of a corpus. Its `rate` is the corpus WER: errors summed over words summed, never a mean of rates.

    >>> total([count_errors("a b c", "a b c"), count_errors("a", "b")]).rate
    0.25
    """
    return sum(counts, WordErrors())
