"""Matching hypotheses with references; unmatched ones on either side are counted and named."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal, Protocol

from linnet.errors import OptionError
from linnet.evaluation.hypotheses.types import HypothesisFile, NameCount, UtteranceHypothesis
from linnet.transcription.transcript import Word
from linnet.urls import public_name

Missing = Literal["error", "deletions"]


class Reference(Protocol):
    """An `Utterance`, a `ScoredRow` or the like; `start`, `end` (seconds) and `recording` are used if present."""

    @property
    def id(self) -> str:
        """The utterance id."""
        ...

    @property
    def audio(self) -> str:
        """The path or URL of its audio."""
        ...


@dataclass
class Pairing:
    """The hypothesis of each reference, or None, which is reported as an error.

    With `missing="deletions"` a missing hypothesis is an empty one, counted all the same. `unknown` hypotheses match no
    reference; `stray` words of a CTM file lie outside all references.
    """

    found: list[UtteranceHypothesis | None]
    by: str
    missing_as: Missing
    missing: NameCount = field(default_factory=NameCount)
    unknown: NameCount = field(default_factory=NameCount)
    stray: NameCount = field(default_factory=NameCount)

    def lines(self) -> list[str]:
        """Notices; the first says by what they were matched."""
        way = "not scored" if self.missing_as == "error" else "all their words count as deleted"
        lines = [f"hypotheses and references are matched by {self.by}"]
        lines += self.missing.lines(f"{{}} references have no hypothesis ({way})")
        lines += self.unknown.lines("{} hypotheses match no reference (not scored)")
        return lines + self.stray.lines("{} words lie outside all references (not scored)")


def pair(hypotheses: HypothesisFile, references: Sequence[Reference], *, missing: Missing = "error") -> Pairing:
    """Find the hypothesis of each reference.

    Bare lines are matched in order. If references have a `start`, the words of a CTM file go to the reference of their
    recording that contains their midpoint, as with sclite. All others are matched by id, audio path or the audio's file
    name without suffix, whichever matches most of them.

    Raises:
        OptionError: the number of bare lines differs from that of the references, or no hypothesis matches any
        reference.
    """
    if hypotheses.kind == "lines":
        pairing = _in_order(hypotheses, references, missing)
    elif hypotheses.kind == "ctm" and any(getattr(reference, "start", None) is not None for reference in references):
        pairing = _by_time(hypotheses, references, missing)
    else:
        pairing = _by_name(hypotheses, references, missing)
    for place, reference in enumerate(references):
        if pairing.found[place] is None:
            pairing.missing.add(reference.id)
            if missing == "deletions":
                pairing.found[place] = UtteranceHypothesis(reference.id, "")
    return pairing


def _in_order(hypotheses: HypothesisFile, references: Sequence[Reference], missing: Missing) -> Pairing:
    lines, wanted = len(hypotheses.rows), len(references)
    if lines != wanted:
        raise OptionError(
            f"{hypotheses.path}: {lines} lines for {wanted} references; lines without ids must match the "
            "references in number and order, or begin with the ids"
        )
    return Pairing(list(hypotheses.rows.values()), "their order", missing)


_Key = Callable[[Any], str]
_WAYS: tuple[tuple[str, _Key, _Key], ...] = (
    ("id", lambda reference: reference.id, lambda name: name),
    ("audio path", lambda reference: public_name(reference.audio), public_name),
    ("audio file name", lambda reference: PurePath(reference.audio).stem, lambda name: PurePath(name).stem),
)


def _by_name(hypotheses: HypothesisFile, references: Sequence[Reference], missing: Missing) -> Pairing:
    by, places = _best_way(hypotheses, references)
    pairing = Pairing([None] * len(references), by, missing)
    for name, hypothesis in hypotheses.rows.items():
        place = places.get(name)
        if place is None:
            pairing.unknown.add(name)
        else:
            pairing.found[place] = hypothesis
    return pairing


def _best_way(hypotheses: HypothesisFile, references: Sequence[Reference]) -> tuple[str, dict[str, int]]:
    """The key that matches most hypotheses, and the position of the reference of each."""
    best: tuple[str, dict[str, int]] = ("", {})
    for by, of_reference, of_name in _WAYS:
        names = {of_name(name): name for name in hypotheses.rows}
        keys = {of_reference(reference): place for place, reference in enumerate(references)}
        if by == "id" and len(keys) < len(references):
            raise OptionError(
                f"references: {len(references) - len(keys)} have the id of another one; ids must be unique"
            )
        if len(names) < len(hypotheses.rows) or len(keys) < len(references):
            continue  # not unique
        places = {name: keys[key] for key, name in names.items() if key in keys}
        if len(places) > len(best[1]):
            best = (by, places)
        if len(places) in (len(references), len(names)):
            break
    if not best[1] and hypotheses.rows:
        raise _nothing_fits(hypotheses, references)
    return best


def _by_time(hypotheses: HypothesisFile, references: Sequence[Reference], missing: Missing) -> Pairing:
    pairing = Pairing([None] * len(references), "recording and time", missing)
    segments: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for place, reference in enumerate(references):
        recording = getattr(reference, "recording", None) or PurePath(reference.audio).stem
        end = getattr(reference, "end", None)
        segment = (getattr(reference, "start", None) or 0.0, float("inf") if end is None else end, place)
        segments[recording].append(segment)
    for name, hypothesis in hypotheses.rows.items():
        if name in segments:
            _share_out(hypothesis, sorted(segments[name]), pairing, references)
        else:
            pairing.unknown.add(name)
    if pairing.unknown.count == len(hypotheses.rows):
        raise _nothing_fits(hypotheses, references)
    return pairing


def _share_out(
    hypothesis: UtteranceHypothesis,
    segments: list[tuple[float, float, int]],
    pairing: Pairing,
    references: Sequence[Reference],
) -> None:
    """Assign each word to the segment that contains its midpoint, of overlapping ones the one that began last.

    A segment without words gets an empty hypothesis, since its recording was recognized.
    """
    shares: list[list[Word]] = [[] for _ in segments]
    starts = [start for start, _, _ in segments]
    for word in hypothesis.words:
        middle = (word.start + word.end) / 2
        at = bisect_right(starts, middle) - 1
        while at >= 0 and middle >= segments[at][1]:
            at -= 1
        if at >= 0:
            shares[at].append(word)
        else:
            pairing.stray.add(f"{hypothesis.id} at {middle:.2f} s: {word.word}")
    for words, (_, _, place) in zip(shares, segments, strict=True):
        text = " ".join(word.word for word in words)
        pairing.found[place] = UtteranceHypothesis(references[place].id, text, tuple(words))


def _nothing_fits(hypotheses: HypothesisFile, references: Sequence[Reference]) -> OptionError:
    mine = next(iter(hypotheses.rows))
    its = f"{references[0].id!r} ({public_name(references[0].audio)})" if references else "none"
    return OptionError(
        f"{hypotheses.path}: none of its {len(hypotheses.rows)} hypotheses matches a reference; its first id is "
        f"{mine!r}, the first reference is {its}; give both the same ids (it was read as {hypotheses.kind})"
    )
