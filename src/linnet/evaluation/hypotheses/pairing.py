"""Which hypothesis belongs to which reference; what is left over on either side is counted and named."""

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
    """What is asked of a reference: an `Utterance`, a `ScoredRow`, or the like.

    `start`, `end` (seconds) and `recording` count too where it has them.
    """

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def audio(self) -> str:
        """The path or address of its sound."""
        ...


@dataclass
class Pairing:
    """For each reference its hypothesis, or None: an error to be shown, never an empty hypothesis.

    With `missing="deletions"` a reference without one has an empty one, and is counted all the same. `unknown`
    hypotheses belong to no reference; `stray` words of a CTM file lie in the time of none.
    """

    found: list[UtteranceHypothesis | None]
    by: str
    missing_as: Missing
    missing: NameCount = field(default_factory=NameCount)
    unknown: NameCount = field(default_factory=NameCount)
    stray: NameCount = field(default_factory=NameCount)

    def lines(self) -> list[str]:
        """Sentences for the user; the first says what was compared."""
        way = "not scored" if self.missing_as == "error" else "all their words count as deleted"
        said = [f"hypotheses and references belong together by {self.by}"]
        said += self.missing.lines(f"{{}} references have no hypothesis ({way})")
        said += self.unknown.lines("{} hypotheses belong to no reference (not scored)")
        return said + self.stray.lines("{} words lie in the time of no reference (not scored)")


def pair(hypotheses: HypothesisFile, references: Sequence[Reference], *, missing: Missing = "error") -> Pairing:
    """Find the hypothesis of each reference.

    Bare lines belong to the references in their order. The words of a CTM file belong to the references of their
    recording in whose time their middle lies, as with sclite, where references have a `start`. All others are found by
    the id, else by the path of the sound, else by its name without folders and ending: by what fits most of them.

    Raises:
        OptionError: bare lines that are more or fewer than the references; or no hypothesis fits any reference.
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
            f"{hypotheses.path}: {lines} lines for {wanted} references; lines without ids must be as many and in the "
            "same order, or begin with the ids"
        )
    return Pairing(list(hypotheses.rows.values()), "their order", missing)


_Key = Callable[[Any], str]
_WAYS: tuple[tuple[str, _Key, _Key], ...] = (
    ("id", lambda reference: reference.id, lambda name: name),
    ("the path of the sound", lambda reference: public_name(reference.audio), public_name),
    ("the name of the sound", lambda reference: PurePath(reference.audio).stem, lambda name: PurePath(name).stem),
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
    """The way that fits most, and with it the place of the reference of each hypothesis."""
    best: tuple[str, dict[str, int]] = ("", {})
    for by, of_reference, of_name in _WAYS:
        names = {of_name(name): name for name in hypotheses.rows}
        keys = {of_reference(reference): place for place, reference in enumerate(references)}
        if by == "id" and len(keys) < len(references):
            raise OptionError(f"references: {len(references) - len(keys)} have the id of another one; ids must differ")
        if len(names) < len(hypotheses.rows) or len(keys) < len(references):
            continue  # not all of them differ by this
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
    stretches: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for place, reference in enumerate(references):
        recording = getattr(reference, "recording", None) or PurePath(reference.audio).stem
        end = getattr(reference, "end", None)
        stretch = (getattr(reference, "start", None) or 0.0, float("inf") if end is None else end, place)
        stretches[recording].append(stretch)
    for name, hypothesis in hypotheses.rows.items():
        if name in stretches:
            _share_out(hypothesis, sorted(stretches[name]), pairing, references)
        else:
            pairing.unknown.add(name)
    if pairing.unknown.count == len(hypotheses.rows):
        raise _nothing_fits(hypotheses, references)
    return pairing


def _share_out(
    hypothesis: UtteranceHypothesis,
    stretches: list[tuple[float, float, int]],
    pairing: Pairing,
    references: Sequence[Reference],
) -> None:
    """Give each word to the stretch that its middle lies in, of overlapping ones to that which began last.

    A stretch without words has an empty hypothesis: the recording was recognized.
    """
    shares: list[list[Word]] = [[] for _ in stretches]
    starts = [start for start, _, _ in stretches]
    for word in hypothesis.words:
        middle = (word.start + word.end) / 2
        at = bisect_right(starts, middle) - 1
        while at >= 0 and middle >= stretches[at][1]:
            at -= 1
        if at >= 0:
            shares[at].append(word)
        else:
            pairing.stray.add(f"{hypothesis.id} at {middle:.2f} s: {word.word}")
    for words, (_, _, place) in zip(shares, stretches, strict=True):
        text = " ".join(word.word for word in words)
        pairing.found[place] = UtteranceHypothesis(references[place].id, text, tuple(words))


def _nothing_fits(hypotheses: HypothesisFile, references: Sequence[Reference]) -> OptionError:
    mine = next(iter(hypotheses.rows))
    its = f"{references[0].id!r} ({public_name(references[0].audio)})" if references else "none"
    return OptionError(
        f"{hypotheses.path}: none of its {len(hypotheses.rows)} hypotheses belongs to a reference; its first id is "
        f"{mine!r}, the first reference is {its}; give both the same ids (it was read as {hypotheses.kind})"
    )
