"""Which word was heard for which: a minimal alignment, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linnet.scoring.scores import find_protocol

_NOTHING = "\0"  # no word, since words hold no control characters


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


def align(reference: Sequence[str], hypothesis: Sequence[str], protocol: str = "plain") -> Alignment:
    """Align as a protocol of `linnet.scoring.scores` does, so that the errors are those that it counts.

    >>> align("a b c".split(), "a x b d".split()).heard
    ('a', 'b', 'd')
    """
    find_protocol(protocol).align()  # refuses an unknown protocol, or one whose library is missing
    return _merging(reference, hypothesis) if protocol == "open-asr" else _plainly(reference, hypothesis)


def _plainly(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    from rapidfuzz.distance import Levenshtein

    heard: list[str | None] = list(reference)
    inserted: list[list[str]] = [[] for _ in range(len(reference) + 1)]
    for step in Levenshtein.editops(reference, hypothesis):
        if step.tag == "insert":
            inserted[step.src_pos].append(hypothesis[step.dest_pos])
        else:
            heard[step.src_pos] = None if step.tag == "delete" else hypothesis[step.dest_pos]
    return Alignment(tuple(reference), tuple(heard), tuple(map(tuple, inserted)))


def _merging(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    import kaldialign  # type: ignore[import-untyped,unused-ignore]

    heard: list[str | None] = []
    inserted: list[list[str]] = [[]]
    for said, word in kaldialign.align(reference, hypothesis, _NOTHING, merge_compounds=True):
        if said == _NOTHING:
            inserted[-1].append(word)
        elif " " in said or " " in word:  # a compound, written in one word by one and in several by the other
            heard += said.split()
            inserted += [[] for _ in said.split()]
        else:
            heard.append(None if word == _NOTHING else word)
            inserted.append([])
    return Alignment(tuple(reference), tuple(heard), tuple(map(tuple, inserted)))
