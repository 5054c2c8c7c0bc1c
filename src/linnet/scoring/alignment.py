"""Minimal word alignments of reference and hypothesis, the basis of all error counts and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from linnet.scoring.scores import find_protocol

Operation = Literal["equal", "substitute", "delete", "insert", "compound"]

_KINDS: dict[str, Operation] = {"equal": "equal", "replace": "substitute", "delete": "delete", "insert": "insert"}
_NOTHING = "\0"  # not a word, since words hold no control characters


class Span(NamedTuple):
    """Reference words [start, end) aligned with hypothesis words [start, end).

    `compound`: the same letters split differently, such as "ice cream" and "icecream", which `open-asr` counts as
    correct.
    """

    kind: Operation
    reference_start: int
    reference_end: int
    hypothesis_start: int
    hypothesis_end: int

    @property
    def right(self) -> bool:
        """Whether it has no error."""
        return self.kind in ("equal", "compound")


@dataclass(frozen=True)
class Alignment:
    """The hypothesis word aligned with each of n reference words, and the words inserted between them."""

    reference: tuple[str, ...]  # [n]
    hypothesis: tuple[str | None, ...]  # [n]; None: deleted
    inserted: tuple[tuple[str, ...], ...]  # [n + 1]: before each reference word, and after the last

    @property
    def wrong(self) -> list[bool]:
        """Whether each reference word was substituted or deleted, [n]."""
        return [other != word for word, other in zip(self.reference, self.hypothesis, strict=True)]


def align(reference: Sequence[str], hypothesis: Sequence[str], protocol: str = "plain") -> Alignment:
    """Align by a protocol of `linnet.scoring.scores`; its errors are those that the protocol counts.

    >>> align("a b c".split(), "a x b d".split()).hypothesis
    ('a', 'b', 'd')
    """
    aligned: list[str | None] = []
    inserted: list[list[str]] = [[]]
    for span in find_spans(reference, hypothesis, protocol):
        words = hypothesis[span.hypothesis_start : span.hypothesis_end]
        if span.kind == "insert":
            inserted[-1] += words
            continue
        own = reference[span.reference_start : span.reference_end]
        aligned += own if span.right else words or [None] * len(own)
        inserted += [[] for _ in own]
    return Alignment(tuple(reference), tuple(aligned), tuple(map(tuple, inserted)))


def find_spans(reference: Sequence[str], hypothesis: Sequence[str], protocol: str = "plain") -> tuple[Span, ...]:
    """The alignment by a protocol as spans of one kind, in order; each compound is a separate span.

    Raises `OptionError` for an unknown protocol, `MissingExtra` if its library is missing.

    >>> [span.kind for span in find_spans("a b c".split(), "a x b d".split())]
    ['equal', 'insert', 'equal', 'substitute']
    """
    find_protocol(protocol).align()  # raises for an unknown protocol or a missing library
    if list(reference) == list(hypothesis):
        return (Span("equal", 0, len(reference), 0, len(hypothesis)),) if reference else ()
    return _merging(reference, hypothesis) if protocol == "open-asr" else _plain(reference, hypothesis)


def _plain(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[Span, ...]:
    from rapidfuzz.distance import Levenshtein

    return tuple(
        Span(_KINDS[step.tag], step.src_start, step.src_end, step.dest_start, step.dest_end)
        for step in Levenshtein.opcodes(reference, hypothesis)
    )


def _merging(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[Span, ...]:
    import kaldialign  # type: ignore[import-untyped,unused-ignore]

    spans: list[Span] = []
    place = (0, 0)
    for pair in kaldialign.align(reference, hypothesis, _NOTHING, merge_compounds=True):
        kind, *sizes = _step(*pair)
        end = (place[0] + sizes[0], place[1] + sizes[1])
        if spans and spans[-1].kind == kind != "compound":
            spans[-1] = spans[-1]._replace(reference_end=end[0], hypothesis_end=end[1])
        else:
            spans.append(Span(kind, place[0], end[0], place[1], end[1]))
        place = end
    return tuple(spans)


def _step(reference: str, hypothesis: str) -> tuple[Operation, int, int]:
    """The kind of a pair aligned by kaldialign, and its numbers of reference and hypothesis words."""
    if reference == _NOTHING:
        return "insert", 0, 1
    if hypothesis == _NOTHING:
        return "delete", 1, 0
    if " " in reference or " " in hypothesis:  # a compound, one word on one side and several on the other
        return "compound", len(reference.split()), len(hypothesis.split())
    return "equal" if reference == hypothesis else "substitute", 1, 1
