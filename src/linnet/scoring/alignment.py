"""Which word was heard for which: a minimal alignment, word by word, from which every figure and table comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from linnet.scoring.scores import find_protocol

Operation = Literal["equal", "substitute", "delete", "insert", "compound"]

_KINDS: dict[str, Operation] = {"equal": "equal", "replace": "substitute", "delete": "delete", "insert": "insert"}
_NOTHING = "\0"  # no word, since words hold no control characters


class Span(NamedTuple):
    """Said words [start, end) that stand against heard words [start, end).

    `compound`: the same letters in other words, such as "ice cream" and "icecream", which `open-asr` takes for right.
    """

    kind: Operation
    said_start: int
    said_end: int
    heard_start: int
    heard_end: int

    @property
    def right(self) -> bool:
        """Whether it holds no error."""
        return self.kind in ("equal", "compound")


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
    heard: list[str | None] = []
    inserted: list[list[str]] = [[]]
    for span in find_spans(reference, hypothesis, protocol):
        words = hypothesis[span.heard_start : span.heard_end]
        if span.kind == "insert":
            inserted[-1] += words
            continue
        said = reference[span.said_start : span.said_end]
        heard += said if span.right else words or [None] * len(said)
        inserted += [[] for _ in said]
    return Alignment(tuple(reference), tuple(heard), tuple(map(tuple, inserted)))


def find_spans(reference: Sequence[str], hypothesis: Sequence[str], protocol: str = "plain") -> tuple[Span, ...]:
    """The alignment of a protocol in stretches of one kind, in order; each compound is its own span.

    Raises `OptionError` for an unknown protocol, `MissingExtra` for one whose library is missing.

    >>> [span.kind for span in find_spans("a b c".split(), "a x b d".split())]
    ['equal', 'insert', 'equal', 'substitute']
    """
    find_protocol(protocol).align()  # refuses an unknown protocol, or one whose library is missing
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
    said = heard = 0
    for pair in kaldialign.align(reference, hypothesis, _NOTHING, merge_compounds=True):
        kind, more_said, more_heard = _step(*pair)
        begin = (said, heard)
        said, heard = said + more_said, heard + more_heard
        if spans and spans[-1].kind == kind != "compound":
            spans[-1] = spans[-1]._replace(said_end=said, heard_end=heard)
        else:
            spans.append(Span(kind, begin[0], said, begin[1], heard))
    return tuple(spans)


def _step(said: str, heard: str) -> tuple[Operation, int, int]:
    """What kaldialign sets side by side: its kind, and how many words of the reference and the hypothesis it holds."""
    if said == _NOTHING:
        return "insert", 0, 1
    if heard == _NOTHING:
        return "delete", 1, 0
    if " " in said or " " in heard:  # a compound, written in one word by one and in several by the other
        return "compound", len(said.split()), len(heard.split())
    return "equal" if said == heard else "substitute", 1, 1
