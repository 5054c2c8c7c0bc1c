"""Convert segments to readable subtitles: cues of a few short lines, each long enough on screen.

A segment is split into units (words), units into cues, a cue's units into lines. Cues end preferably at the end of a
sentence, then of a clause, then at a pause, and have similar lengths; lines likewise. Without word times, the segment's
time is divided among its units by characters. Shapes: U units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from linnet.alignment.words import interpolate
from linnet.errors import OptionError
from linnet.text.words import break_unspaced
from linnet.transcription.sentences import CLOSING, ends_sentence
from linnet.transcription.transcript import Segment, Transcript

SENTENCE, CLAUSE, PAUSE, ANYWHERE = 0.0, 2.0, 3.0, 8.0  # cost of ending a cue or a line there
PIECE = 6.0  # cost of one more cue or line
BALANCE = 4.0  # cost of an empty one, by the square of its unused share
SILENCE = 30.0  # cost of a long pause inside a cue
SHORT_PAUSE, LONG_PAUSE = 0.3, 2.0  # seconds of a pause: a good end of a cue; to be avoided inside a cue
DEFAULT_WIDTH = 42
FLICKER = 0.1  # seconds: a shorter gap between cues is only a flicker
_ENDS_CLAUSE = ",;:—、，；："


@dataclass(frozen=True)
class SubtitleLayout:
    """The layout of subtitles. `None` sets no limit; lengths are in characters, durations in seconds.

    A cue is shown for at least `min_duration` and its characters / `max_chars_per_second`, but never into the next one,
    and, if it can be split or shortened, for at most `max_duration`. Raises `OptionError` for impossible limits.
    """

    max_line_width: int | None = None
    max_lines: int | None = None  # without a width it means lines of 42 characters
    max_chars_per_second: float | None = None
    min_duration: float = 0.0
    max_duration: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_lines", "max_chars_per_second", "max_duration"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name.replace('_', ' ')} must be more than 0, got {value}")
        if self.max_lines is not None and self.max_line_width is None:
            object.__setattr__(self, "max_line_width", DEFAULT_WIDTH)

    def shortest(self, characters: int) -> float:
        """Minimum seconds for this number of characters."""
        rate = self.max_chars_per_second
        wanted = max(self.min_duration, characters / rate if rate is not None else 0.0)
        return wanted if self.max_duration is None else min(wanted, self.max_duration)


SUBTITLE = SubtitleLayout(max_line_width=42, max_lines=2, max_chars_per_second=20.0, min_duration=0.8, max_duration=7.0)


@dataclass(frozen=True)
class Unit:
    """A word with its times in seconds; `spaced`: a space is before it. `timed`: the times are the word's own."""

    text: str
    start: float
    end: float
    spaced: bool
    timed: bool


@dataclass(frozen=True)
class Cue:
    """The lines shown from `start` to `end`."""

    start: float
    end: float
    lines: tuple[tuple[Unit, ...], ...]


def line_text(units: Sequence[Unit]) -> str:
    """The text of a line."""
    return "".join((" " if unit.spaced and place else "") + unit.text for place, unit in enumerate(units))


def make_cues(transcript: Transcript, layout: SubtitleLayout | None = None) -> list[Cue]:
    """The cues of a transcript, in order and, with a layout, without overlap; segments without text have none.

    Without a layout, each segment is one cue with the lines of its text.
    """
    if layout is None:
        return list(_joined([cue for segment in transcript.segments if (cue := _as_it_is(segment)) is not None]))
    cues = [cue for segment in transcript.segments for cue in _split(_units(segment), layout)]
    return list(_joined(list(_shown(cues, layout, transcript.duration))))


def _as_it_is(segment: Segment) -> Cue | None:
    texts = [text for line in segment.text.splitlines() if (text := line.strip())]
    if not texts:
        return None
    end = max(segment.start, segment.end)
    if segment.words and len(texts) == 1 and (units := _units(segment))[0].timed:
        return Cue(segment.start, end, (tuple(units),))
    return Cue(segment.start, end, tuple((Unit(text, segment.start, end, False, False),) for text in texts))


def _units(segment: Segment) -> list[Unit]:
    """The segment's words if they spell its text, else its space-separated units, timed by characters."""
    text = " ".join(segment.text.split())
    units: list[Unit] = []
    at = 0
    for word in segment.words:
        found = text.find(word.word, at)
        if found < 0 or text[at:found].strip():
            break
        units.append(Unit(word.word, word.start, max(word.start, word.end), found > at or not units, True))
        at = found + len(word.word)
    if units and at == len(text):
        return units
    pieces = [(piece, place == 0) for token in text.split() for place, piece in enumerate(break_unspaced(token))]
    times = interpolate([len(piece) for piece, _ in pieces], segment.start, max(segment.start, segment.end))
    return [Unit(piece, start, end, spaced, False) for (piece, spaced), (start, end) in zip(pieces, times, strict=True)]


def _split(units: Sequence[Unit], layout: SubtitleLayout) -> Iterator[Cue]:
    """One segment's cues, with the times of their first and last units."""
    if not units:
        return
    room = (layout.max_line_width or 0) * (layout.max_lines or 0)
    whole = len(line_text(units))

    def fits(part: Sequence[Unit]) -> bool:
        long = layout.max_duration is not None and part[-1].end - part[0].start > layout.max_duration
        full = layout.max_lines is not None and _line_count(part, layout.max_line_width) > layout.max_lines
        return len(part) == 1 or not (long or full)

    def cost(part: Sequence[Unit]) -> float:
        silence = sum(SILENCE for one, two in pairwise(part) if two.start - one.end > LONG_PAUSE)
        return silence + _emptiness(part, room or whole)

    for part in _best_parts(units, fits, cost):
        yield Cue(part[0].start, part[-1].end, tuple(_lines(part, layout)))


def _lines(units: Sequence[Unit], layout: SubtitleLayout) -> list[tuple[Unit, ...]]:
    """The fewest lines that hold the units, of similar length; a word longer than a line gets its own line."""
    width = layout.max_line_width
    if width is None:
        return [tuple(units)]
    least = _line_count(units, width)
    if least == 1:
        return [tuple(units)]
    share = max(1.0, len(line_text(units)) / least)

    def fits(part: Sequence[Unit]) -> bool:
        return len(part) == 1 or len(line_text(part)) <= width

    def cost(part: Sequence[Unit]) -> float:
        return 1e6 + 4 * BALANCE * (len(line_text(part)) / share - 1.0) ** 2  # 1e6: the number of lines comes first

    return [tuple(part) for part in _best_parts(units, fits, cost)]


def _line_count(units: Sequence[Unit], width: int | None) -> int:
    """The number of lines of this width that units fill, each line as full as possible."""
    if width is None:
        return 1
    count, used = 1, 0
    for unit in units:
        added = len(unit.text) + (1 if unit.spaced and used else 0)
        if used and used + added > width:
            count, used = count + 1, len(unit.text)
        else:
            used += added
    return count


def _best_parts(
    units: Sequence[Unit], fits: Callable[[Sequence[Unit]], bool], cost: Callable[[Sequence[Unit]], float]
) -> list[Sequence[Unit]]:
    """The cheapest split into parts that fit, by the sum of the costs of each part and its end. Exact, in O(U^2).

    `fits` must hold for single units, and must not hold for a part if it does not hold for a prefix of it.
    """
    best: list[tuple[float, int]] = [(0.0, 0)] + [(float("inf"), 0)] * len(units)
    for first in range(len(units)):
        for last in range(first + 1, len(units) + 1):
            part = units[first:last]
            if not fits(part):
                break
            total = best[first][0] + PIECE + cost(part) + (_ending(units, last) if last < len(units) else 0.0)
            best[last] = min(best[last], (total, first))
    parts: list[Sequence[Unit]] = []
    last = len(units)
    while last:
        first = best[last][1]
        parts.append(units[first:last])
        last = first
    return parts[::-1]


def _ending(units: Sequence[Unit], place: int) -> float:
    """The cost of ending before this unit."""
    if ends_sentence(units[place - 1].text):
        return SENTENCE
    mark = units[place - 1].text.rstrip(CLOSING)[-1:]
    if mark and mark in _ENDS_CLAUSE:
        return CLAUSE
    timed = units[place].timed and units[place - 1].timed
    return PAUSE if timed and units[place].start - units[place - 1].end >= SHORT_PAUSE else ANYWHERE


def _emptiness(part: Sequence[Unit], room: int) -> float:
    return BALANCE * max(0.0, 1.0 - len(line_text(part)) / max(room, 1)) ** 2


def _joined(cues: Sequence[Cue]) -> Iterator[Cue]:
    """The same cues, each extended to the next one across short gaps."""
    for place, cue in enumerate(cues):
        following = cues[place + 1].start if place + 1 < len(cues) else cue.end
        yield replace(cue, end=following) if cue.end < following < cue.end + FLICKER else cue


def _shown(cues: Sequence[Cue], layout: SubtitleLayout, duration: float) -> Iterator[Cue]:
    """Cues with the times needed for reading, in order, without overlap and within the recording."""
    reached = 0.0
    for place, cue in enumerate(cues):
        start = max(cue.start, reached)
        end = max(cue.end, start + layout.shortest(sum(len(line_text(line)) for line in cue.lines)))
        if layout.max_duration is not None:
            end = min(end, start + layout.max_duration)
        if duration > 0.0:
            end = min(end, max(duration, cue.end))
        if place + 1 < len(cues):
            end = min(end, max(cues[place + 1].start, start))
        reached = max(start, end)
        yield replace(cue, start=start, end=reached)
