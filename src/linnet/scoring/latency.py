"""How late, how steady and how right live text is while it is shown: texts and times in, numbers out.

Two clocks: `audio`, the seconds of audio that had been taken when something was shown, as if computing took no time
(computation-unaware), and `wall`, when it was really shown, counted from the stream's first sample. Words are compared
in the units that `Units` makes of them. Shapes: W final words, P points in time.
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
    """A reference word and when it was said, in seconds of the stream; `sure`: its times are measured, not divided."""

    text: str
    start: float
    end: float
    sure: bool = True


@dataclass(frozen=True)
class Shown:
    """One change on screen: the words that became final, and the whole tail behind them, which may still change."""

    audio: float
    wall: float
    final: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()

    def at(self, clock: Clock) -> float:
        """When it was shown."""
        return self.audio if clock == "audio" else self.wall


@dataclass(frozen=True)
class WordLag:
    """A reference word that was recognized: seconds from its end until it was final, and until it was there to stay.

    `emitted` is never later than `committed`: the word stood in the tail before, unchanged and at its place.
    """

    word: SpokenWord
    committed_audio: float
    committed_wall: float
    emitted_audio: float
    emitted_wall: float


class Units:
    """Words in the form in which they are compared: each normalized by itself, scripts without spaces by characters.

    >>> Units(str.lower).of(["Hello", "WORLD"])
    ['hello', 'world']
    """

    def __init__(self, normalize: Callable[[str], str]) -> None:
        self._normalize = normalize
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, words: Iterable[str]) -> list[str]:
        """The units of words; one of punctuation alone has none."""
        return [unit for word in words for unit in self._of_word(word)]

    def spoken(self, words: Iterable[SpokenWord]) -> list[SpokenWord]:
        """The units of reference words, each with its word's times."""
        return [
            SpokenWord(unit, word.start, word.end, word.sure) for word in words for unit in self._of_word(word.text)
        ]

    def shown(self, changes: Iterable[Shown]) -> list[Shown]:
        """The changes in units."""
        return [Shown(one.audio, one.wall, tuple(self.of(one.final)), tuple(self.of(one.tail))) for one in changes]

    def _of_word(self, word: str) -> tuple[str, ...]:
        if word not in self._known:
            pieces = self._normalize(word).split()
            self._known[word] = tuple(unit for piece in pieces for unit in break_unspaced(piece))
        return self._known[word]


def word_lags(reference: Sequence[SpokenWord], shown: Sequence[Shown]) -> list[WordLag]:
    """The lags of all reference words that are among the final words, by the alignment that counts word errors.

    Words of the reference whose times are not `sure` are left out. All words must be `Units`.

    >>> said = [SpokenWord("one", 0.0, 0.5), SpokenWord("two", 0.6, 1.0)]
    >>> screen = [Shown(0.8, 0.9, (), ("one",)), Shown(1.2, 1.4, ("one", "two"))]
    >>> [(round(lag.committed_audio, 2), round(lag.emitted_audio, 2)) for lag in word_lags(said, screen)]
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


def first_stable(shown: Sequence[Shown]) -> list[Shown]:
    """For each final word, [W], the change since when it stood at its place without a break."""
    final = [word for change in shown for word in change.final]
    since: list[Shown] = []  # of the first words of `final` that stand on screen: the final ones and the right part
    held: dict[int, Shown] = {}  # of places in the tail
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


def first_text(reference: Sequence[SpokenWord], shown: Sequence[Shown], clock: Clock) -> float | None:
    """Seconds from the first word's start until any text is shown; None where nothing is said or shown."""
    texts = [change for change in shown if change.final or change.tail]
    return texts[0].at(clock) - reference[0].start if texts and reference else None


def erased(shown: Sequence[Shown]) -> int:
    """Words that were shown and taken back: the sum of |o(j-1)| - |longest common prefix of o(j-1) and o(j)|.

    o(j) are all words on screen after change j. Divided by the final words it is the normalized erasure of Arivazhagan
    et al. 2020 (arXiv 1912.03393).

    >>> erased([Shown(1, 1, (), ("the", "cat")), Shown(2, 2, ("the",), ("car", "is"))])
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
    """Edits and reference words, each summed over points in time."""

    errors: int
    words: int

    @property
    def rate(self) -> float | None:
        """Errors per word; None without words."""
        return self.errors / self.words if self.words else None


def prefix_errors(
    reference: Sequence[SpokenWord],
    shown: Sequence[Shown],
    points: Sequence[tuple[float, float]],
    clock: Clock,
) -> PrefixErrors:
    """Errors of the text on screen against what had begun to be said, summed over points in time (audio, wall), [P].

    At each point the reference is all words that start no later than it: on the audio clock the RWER of CarelessWhisper
    (arXiv 2508.12301), on the wall clock its ARWER, which adds the processing time.
    """
    from rapidfuzz.distance import Levenshtein

    codes = _Codes()
    said = codes.text(word.text for word in reference)
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
            last, distance = (count, screen), Levenshtein.distance(said[:count], screen)
        words, errors = words + count, errors + distance
    return PrefixErrors(errors, words)


class _Codes:
    """A character for each word, so that texts of words are strings."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def text(self, words: Iterable[str]) -> str:
        return "".join(self._known.setdefault(word, _character(len(self._known))) for word in words)


def _character(number: int) -> str:
    return chr(number if number < 0xD800 else number + 0x800)  # without the surrogates


def average_lagging(delays: Sequence[float], source: float, reference: int) -> float | None:
    """LAAL, length-adaptive average lagging in seconds (Papi et al. 2022, arXiv 2206.05807), as SimulEval has it.

    `delays[i]` is how much of the source of `source` seconds had been taken (or, with the time of computing, passed)
    when word i became final; `reference` the number of reference words. A speaker at an even pace says word i at
    i * source / max(words, reference); the mean is over the words up to the first one that came at the source's end.
    None without words.
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
    """Of times in seconds: how many, the 50th, 95th and 99th percentiles (linear between neighbors), and the mean."""

    count: int
    p50: float
    p95: float
    p99: float
    mean: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Quantiles | None:
        """None of no values.

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
    """Seconds of work for each chunk against its position in the stream.

    `means[k]` is the mean over part k of equally many chunks each, from the stream's start to its end; `flatness` the
    last part's mean over the first's: 1 where a chunk costs the same at any time.
    """

    chunks: int
    p50: float
    p95: float
    means: tuple[float, ...]

    @property
    def flatness(self) -> float | None:
        """None for too short a stream, or one without work at its start."""
        return self.means[-1] / self.means[0] if len(self.means) > 1 and self.means[0] > 0 else None

    @classmethod
    def of(cls, seconds: Sequence[float], parts: int = 10) -> Pace | None:
        """Of the chunks' seconds in order; fewer parts where there are fewer than ten chunks for each.

        >>> Pace.of([0.1] * 100 + [0.2] * 100, parts=2).flatness
        2.0
        """
        found = np.asarray(seconds, np.float64)
        if not len(found):
            return None
        pieces = np.array_split(found, max(1, min(parts, len(found) // 10)))
        p50, p95 = (float(one) for one in np.quantile(found, (0.5, 0.95)))
        return cls(len(found), p50, p95, tuple(round(float(piece.mean()), 6) for piece in pieces))
