"""Latency, stability and accuracy of live text: texts and times in, numbers out.

Two clocks: `audio`, the seconds of audio received when text was displayed, as if computation took no time
(computation-unaware), and `wall`, the actual time of display since the stream's first sample. Words are compared in
the units of `Units`. Shapes: W final words, P points in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from linnet.scoring.alignment import find_spans
from linnet.text.words import break_unspaced

Clock = Literal["audio", "wall"]
CLOCKS: tuple[Clock, ...] = ("audio", "wall")


@dataclass(frozen=True)
class SpokenWord:
    """A reference word with its times in seconds of the stream; `sure`: measured, not interpolated."""

    text: str
    start: float
    end: float
    sure: bool = True


@dataclass(frozen=True)
class DisplayUpdate:
    """One update of the display: words that became final, and the whole tail after them, which may still change."""

    audio: float
    wall: float
    final: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()

    def at(self, clock: Clock) -> float:
        """Time of the update on a clock."""
        return self.audio if clock == "audio" else self.wall


@dataclass(frozen=True)
class WordLag:
    """A recognized reference word: seconds from its end until it was final, and until it was first displayed for good.

    `emitted` is never later than `committed`: the word was in the tail before, unchanged and in place.
    """

    word: SpokenWord
    committed_audio: float
    committed_wall: float
    emitted_audio: float
    emitted_wall: float


class Units:
    """Splits words into units for comparison: each word normalized separately, unspaced scripts into characters.

    >>> Units(str.lower).of(["Hello", "WORLD"])
    ['hello', 'world']
    """

    def __init__(self, normalize: Callable[[str], str]) -> None:
        self._normalize = normalize
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, words: Iterable[str]) -> list[str]:
        """Split words into units; pure punctuation has none."""
        return [unit for word in words for unit in self._of_word(word)]

    def spoken(self, words: Iterable[SpokenWord]) -> list[SpokenWord]:
        """Split reference words into units, each with the times of its word."""
        return [
            SpokenWord(unit, word.start, word.end, word.sure) for word in words for unit in self._of_word(word.text)
        ]

    def shown(self, changes: Iterable[DisplayUpdate]) -> list[DisplayUpdate]:
        """Convert display updates to units."""
        return [
            DisplayUpdate(one.audio, one.wall, tuple(self.of(one.final)), tuple(self.of(one.tail))) for one in changes
        ]

    def _of_word(self, word: str) -> tuple[str, ...]:
        if word not in self._known:
            pieces = self._normalize(word).split()
            self._known[word] = tuple(unit for piece in pieces for unit in break_unspaced(piece))
        return self._known[word]


def word_lags(reference: Sequence[SpokenWord], shown: Sequence[DisplayUpdate]) -> list[WordLag]:
    """Compute the lags of all recognized reference words, by the alignment that counts word errors.

    Reference words whose times are not `sure` are skipped. All words must be `Units`.

    >>> spoken = [SpokenWord("one", 0.0, 0.5), SpokenWord("two", 0.6, 1.0)]
    >>> screen = [DisplayUpdate(0.8, 0.9, (), ("one",)), DisplayUpdate(1.2, 1.4, ("one", "two"))]
    >>> [(round(lag.committed_audio, 2), round(lag.emitted_audio, 2)) for lag in word_lags(spoken, screen)]
    [(0.7, 0.3), (0.2, 0.2)]
    """
    final = [(word, change) for change in shown for word in change.final]
    emitted = first_stable(shown)
    lags = []
    for at, place in _equal_pairs([word.text for word in reference], [word for word, _ in final]):
        word, change, early = reference[at], final[place][1], emitted[place]
        if word.sure:
            ends = [change.audio, change.wall, early.audio, early.wall]
            lags.append(WordLag(word, *(moment - word.end for moment in ends)))
    return lags


def _equal_pairs(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[tuple[int, int]]:
    for span in find_spans(reference, hypothesis):
        if span.kind == "equal":
            yield from zip(
                range(span.reference_start, span.reference_end),
                range(span.hypothesis_start, span.hypothesis_end),
                strict=True,
            )


def first_stable(shown: Sequence[DisplayUpdate]) -> list[DisplayUpdate]:
    """For each final word [W], the update since which it was displayed in place without interruption."""
    final = [word for change in shown for word in change.final]
    # the first words of `final` that are displayed: the final ones and the matching part of the tail
    since: list[DisplayUpdate] = []
    held: dict[int, DisplayUpdate] = {}  # by position in the tail
    for change in shown:
        begin = len(since)
        visible = [*change.final, *change.tail]
        standing = {
            begin + offset: held.get(begin + offset, change)
            for offset, word in enumerate(visible)
            if begin + offset < len(final) and final[begin + offset] == word
        }
        since += [standing[begin + offset] for offset in range(len(change.final))]
        held = standing
    return since


def first_text(reference: Sequence[SpokenWord], shown: Sequence[DisplayUpdate], clock: Clock) -> float | None:
    """Seconds from the first word's start until any text is displayed; None without words or text."""
    texts = [change for change in shown if change.final or change.tail]
    return texts[0].at(clock) - reference[0].start if texts and reference else None


def erased(shown: Sequence[DisplayUpdate]) -> int:
    """Count displayed words that were revised: the sum of |o(j-1)| - |longest common prefix of o(j-1) and o(j)|.

    o(j) are all words displayed after update j. Divided by the final words it is the normalized erasure of Arivazhagan
    et al. 2020 (arXiv 1912.03393).

    >>> erased([DisplayUpdate(1, 1, (), ("the", "cat")), DisplayUpdate(2, 2, ("the",), ("car", "is"))])
    1
    """
    return sum(
        len(before.tail) - _common(before.tail, (*after.final, *after.tail)) for before, after in pairwise(shown)
    )


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


@dataclass(frozen=True)
class PrefixErrors:
    """Word errors and reference words, each summed over points in time."""

    errors: int
    words: int

    @property
    def rate(self) -> float | None:
        """Errors per word; None without words."""
        return self.errors / self.words if self.words else None


def prefix_errors(
    reference: Sequence[SpokenWord],
    shown: Sequence[DisplayUpdate],
    points: Sequence[tuple[float, float]],
    clock: Clock,
) -> PrefixErrors:
    """Compute errors of the displayed text against the words begun so far, summed over points (audio, wall) [P].

    At each point the reference is all words that start no later: on the audio clock the RWER of CarelessWhisper
    (arXiv 2508.12301), on the wall clock its ARWER, which adds the processing time.
    """
    from rapidfuzz.distance import Levenshtein

    codes = _Codes()
    spoken = codes.text(word.text for word in reference)
    starts = np.array([word.start for word in reference])
    order = np.maximum.accumulate(starts) if len(starts) else starts
    final, screen, used = "", "", 0
    words = errors = 0
    last: tuple[int, str] | None = None
    distance = 0
    for audio, wall in points:
        while used < len(shown) and shown[used].wall <= wall:
            final += codes.text(shown[used].final)
            screen = final + codes.text(shown[used].tail)
            used += 1
        count = int(np.searchsorted(order, audio if clock == "audio" else wall, side="right"))
        if last != (count, screen):
            last, distance = (count, screen), Levenshtein.distance(spoken[:count], screen)
        words, errors = words + count, errors + distance
    return PrefixErrors(errors, words)


class _Codes:
    """Maps each word to a character, so that word sequences are strings."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def text(self, words: Iterable[str]) -> str:
        return "".join(self._known.setdefault(word, _character(len(self._known))) for word in words)


def _character(number: int) -> str:
    return chr(number if number < 0xD800 else number + 0x800)  # without the surrogates


def average_lagging(delays: Sequence[float], source: float, reference: int) -> float | None:
    """LAAL, length-adaptive average lagging in seconds (Papi et al. 2022, arXiv 2206.05807), as SimulEval has it.

    `delays[i]` is how much of the source of `source` seconds had been received (or, computation-aware, had elapsed)
    when word i became final; `reference` is the number of reference words. An ideal system emits word i at i * source /
    max(words, reference); the mean is over the words up to the first one emitted at the end of the source. None without
    words.
    """
    if not delays or source <= 0:
        return None
    if delays[0] > source:
        return delays[0]
    pace = source / max(len(delays), reference)
    counted = next((place for place, delay in enumerate(delays, start=1) if delay >= source), len(delays))
    return sum(delay - place * pace for place, delay in enumerate(delays[:counted])) / counted


@dataclass(frozen=True)
class Quantiles:
    """Summary of times in seconds: count, 50th, 95th and 99th percentiles (linearly interpolated), and mean."""

    count: int
    p50: float
    p95: float
    p99: float
    mean: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Quantiles | None:
        """Summarize values; None if there are none.

        >>> Quantiles.of([1.0, 2.0, 3.0]).p50
        2.0
        """
        found = np.fromiter(values, np.float64)
        if not len(found):
            return None
        p50, p95, p99 = (float(one) for one in np.quantile(found, (0.5, 0.95, 0.99)))
        return cls(len(found), p50, p95, p99, float(found.mean()))


@dataclass(frozen=True)
class Pace:
    """Seconds of computation per chunk by position in the stream.

    `means[k]` is the mean over part k of equally sized parts of the stream; `flatness` is the last part's mean divided
    by the first's: 1 if the cost of a chunk is constant.
    """

    chunks: int
    p50: float
    p95: float
    means: tuple[float, ...]

    @property
    def flatness(self) -> float | None:
        """None for a short stream, or without computation at its start."""
        return self.means[-1] / self.means[0] if len(self.means) > 1 and self.means[0] > 0 else None

    @classmethod
    def of(cls, seconds: Sequence[float], parts: int = 10) -> Pace | None:
        """Summarize the seconds per chunk, in order; fewer parts if there are fewer than ten chunks for each.

        >>> Pace.of([0.1] * 100 + [0.2] * 100, parts=2).flatness
        2.0
        """
        found = np.asarray(seconds, np.float64)
        if not len(found):
            return None
        pieces = np.array_split(found, max(1, min(parts, len(found) // 10)))
        p50, p95 = (float(one) for one in np.quantile(found, (0.5, 0.95)))
        return cls(len(found), p50, p95, tuple(round(float(piece.mean()), 6) for piece in pieces))
