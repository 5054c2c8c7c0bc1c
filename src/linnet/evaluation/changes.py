"""Words that one system recognizes and the other does not."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from linnet.evaluation.log import ScoredRow
from linnet.evaluation.matching import hypothesis_words, reference_words
from linnet.scoring.alignment import Alignment, align

MOST = 50  # entries kept in each list
_FORMS = 3  # misrecognitions listed per word
DELETED = "(nothing)"


@dataclass(frozen=True)
class WordChange:
    """A reference word that one system recognized where the other did not.

    `as_a` and `as_b` are what A and B recognized in its place, the most frequent first.
    """

    word: str
    fixed: int  # wrong in A, right in B
    broken: int  # right in A, wrong in B
    as_a: Sequence[tuple[str, int]] = ()
    as_b: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class InsertedWord:
    """An inserted word and how often each system inserted it."""

    word: str
    a: int
    b: int


@dataclass(frozen=True)
class ChangedUtterance:
    """An utterance in which one system made more errors than the other."""

    id: str
    errors_a: int
    errors_b: int
    reference: str
    a: str
    b: str


@dataclass(frozen=True)
class Changes:
    """Differences between two systems; each list holds its `MOST` largest entries, `fixed` and `broken` count all."""

    fixed: int = 0
    broken: int = 0
    words: Sequence[WordChange] = ()
    inserted: Sequence[InsertedWord] = ()
    utterances: Sequence[ChangedUtterance] = ()


def find_changes(
    first: Sequence[ScoredRow], second: Sequence[ScoredRow], protocol: str = "plain"
) -> tuple[Changes, list[tuple[Alignment, Alignment]]]:
    """The changes between rows of the same utterances, and the alignments of utterances with errors."""
    counted, alignments = _WordTally(), []
    differing: list[tuple[int, int]] = []
    for place, (a, b) in enumerate(zip(first, second, strict=True)):
        if not a.counts.errors and not b.counts.errors:
            continue
        reference = reference_words(a)
        pair = align(reference, hypothesis_words(a), protocol), align(reference, hypothesis_words(b), protocol)
        alignments.append(pair)
        counted.add(*pair)
        if a.counts.errors != b.counts.errors:
            differing.append((abs(a.counts.errors - b.counts.errors), -place))
    most = [-place for _, place in heapq.nlargest(MOST, differing)]
    return counted.changes([_changed(first[place], second[place]) for place in most]), alignments


class _WordTally:
    """Words that were right in one alignment only."""

    def __init__(self) -> None:
        self.fixed: defaultdict[str, Counter[str]] = defaultdict(Counter)  # word -> what A recognized
        self.broken: defaultdict[str, Counter[str]] = defaultdict(Counter)  # word -> what B recognized
        self.inserted: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def add(self, a: Alignment, b: Alignment) -> None:
        for word, by_a, by_b in zip(a.reference, a.hypothesis, b.hypothesis, strict=True):
            if by_a != word and by_b == word:
                self.fixed[word][by_a or DELETED] += 1
            elif by_a == word and by_b != word:
                self.broken[word][by_b or DELETED] += 1
        for counter, alignment in zip(self.inserted, (a, b), strict=True):
            for words in alignment.inserted:
                counter.update(words)

    def changes(self, utterances: Sequence[ChangedUtterance]) -> Changes:
        fixed = {word: forms.total() for word, forms in self.fixed.items()}
        broken = {word: forms.total() for word, forms in self.broken.items()}
        words = heapq.nsmallest(
            MOST,
            {**fixed, **broken},
            key=lambda word: (
                -abs(fixed.get(word, 0) - broken.get(word, 0)),
                -fixed.get(word, 0) - broken.get(word, 0),
                word,
            ),
        )
        a, b = self.inserted
        inserted = heapq.nsmallest(MOST, {**a, **b}, key=lambda word: (-abs(a[word] - b[word]), word))
        return Changes(
            fixed=sum(fixed.values()),
            broken=sum(broken.values()),
            words=[
                WordChange(
                    word,
                    fixed.get(word, 0),
                    broken.get(word, 0),
                    self.fixed[word].most_common(_FORMS),
                    self.broken[word].most_common(_FORMS),
                )
                for word in words
            ],
            inserted=[InsertedWord(word, a[word], b[word]) for word in inserted if a[word] != b[word]],
            utterances=utterances,
        )


def _changed(a: ScoredRow, b: ScoredRow) -> ChangedUtterance:
    reference, hypothesis_a, hypothesis_b = (
        " ".join(words) for words in (reference_words(a), hypothesis_words(a), hypothesis_words(b))
    )
    return ChangedUtterance(a.id, a.counts.errors, b.counts.errors, reference, hypothesis_a, hypothesis_b)
