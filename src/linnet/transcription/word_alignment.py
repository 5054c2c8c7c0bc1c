"""Word times for a whole corpus: each utterance's text, or its transcript where it has none, placed in its sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from linnet.alignment.forced import ForcedWords
from linnet.audio.types import Samples
from linnet.data.aligned import AlignedUtterance
from linnet.data.manifest import Utterance, WordTime
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError
from linnet.settings import NOT_NEGATIVE, SHARE, require

NAMED = 10  # rows left out; all are counted
Transcriber = Callable[[Samples, str | None], str]


class TextAligner(Protocol):
    """Places the words of a known text: `alignment.forced.ForcedAligner`, `alignment.ctc_forced.CtcAligner`."""

    def align(self, samples: Samples, text: str, language: str | None) -> ForcedWords | str:
        """The words, or the reason why they cannot be placed."""
        ...


@dataclass(frozen=True)
class AlignmentLimits:
    """Which alignments are kept: a mean log-probability of at least `-loss`, and at most that share `unplaced`."""

    loss: float = 1.5
    unplaced: float = 0.34

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "loss")
        require(self, SHARE, "unplaced")


@dataclass
class AlignmentReport:
    """What became of the rows: those aligned, those transcribed first, and those left out by reason."""

    aligned: int = 0
    transcribed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)  # the first ones left out, with the reason

    def lines(self) -> list[str]:
        """Notices for the user."""
        total = self.aligned + self.left_out.total()
        lines = [f"{self.aligned} of {total} rows have word times"]
        if self.transcribed:
            lines.append(f"  {self.transcribed} of them with the model's own words")
        lines += [f"  {count} left out: {reason}" for reason, count in self.left_out.most_common()]
        return lines + [f"    {one}" for one in self.named]


def align_utterances(
    utterances: Iterable[Utterance],
    aligner: TextAligner,
    report: AlignmentReport,
    *,
    transcribe: Transcriber | None = None,
    limits: AlignmentLimits | None = None,
) -> Iterator[AlignedUtterance]:
    """The utterances with the times of their words; what cannot be aligned well is left out and counted in `report`.

    An utterance without a text gets that of `transcribe`, which takes samples and a language, or is left out. One with
    an empty text is silence: it stays, without words.
    """
    kept = limits or AlignmentLimits()
    with UtteranceReader() as reader:
        for utterance in utterances:
            found = _aligned(utterance, reader, aligner, transcribe, kept)
            if isinstance(found, str):
                report.left_out[found] += 1
                if len(report.named) < NAMED:
                    report.named.append(f"{utterance.id}: {found}")
                continue
            report.aligned += 1
            report.transcribed += utterance.text is None
            yield found


def _aligned(
    utterance: Utterance,
    reader: UtteranceReader,
    aligner: TextAligner,
    transcribe: Transcriber | None,
    limits: AlignmentLimits,
) -> AlignedUtterance | str:
    """One utterance with its words, or the reason why it is left out."""
    try:
        audio = reader.read(utterance)
    except AudioError:
        return "unreadable audio"
    text = utterance.text
    if text is None:
        if transcribe is None:
            return "without a text (--transcribe takes the model's own)"
        text = transcribe(audio.samples, utterance.language).strip()
    known = replace(utterance, text=text, duration=round(audio.duration, 3))
    if not text:
        return AlignedUtterance(known, ())
    found = aligner.align(audio.samples, text, utterance.language)
    return _kept(known, found, limits) if isinstance(found, ForcedWords) else found


def _kept(utterance: Utterance, found: ForcedWords, limits: AlignmentLimits) -> AlignedUtterance | str:
    """The utterance with these words, or the reason why they are not trusted."""
    if found.score < -limits.loss:
        return "its text does not fit its sound"
    if found.unplaced > limits.unplaced:
        return "too many of its words have no place in its sound"
    words = tuple(WordTime(word.text.strip(), word.start, word.end) for word in found.words)
    return AlignedUtterance(utterance, words, round(found.score, 3))
