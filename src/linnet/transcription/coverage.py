"""Compare the words of a window with the speech detected in it: stretches without words, and words without speech.

A model in timestamps mode may skip sentences inside a window, with a high probability; only the time line shows it::

    regions     -----  ---- -----  --------  ------      12 s of speech
    segments   [one two three][four five six      ]      6 words in the last 9 s: too few, decoded again
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import Region
from linnet.transcription.transcript import Segment

SHORTEST_SPEECH = round(0.2 * SAMPLE_RATE)  # samples: shorter speech may be ignored
LONG_REST = round(1.5 * SAMPLE_RATE)  # samples of a region without words, if the rest has words
SLACK = round(0.2 * SAMPLE_RATE)  # samples by which a model's times may differ from detected speech
SLOWEST = 1.4  # words per second of speech: read and spontaneous speech has 2 to 4
TYPICAL = 3.0  # words per second of speech in most recordings
LAGGING = 0.65  # share of a recording's usual words per second below which words may be missing
LEAST_KNOWN = 3  # segments for estimating the speaking rate of a recording
LONGEST_PLAIN = 3.0  # seconds of speech in a segment that are too short to estimate a rate
FASTEST = 8.0  # words per second of speech that are impossible
SPARE_WORDS = 2.0  # words in speech too short to be measured
LITTLE = 1.5  # seconds of speech in a window that may be a cry, a laugh or a chord
SLOW = 0.85  # share of a recording's usual words per second below which a phrase may be missing
LATE = round(0.4 * SAMPLE_RATE)  # samples of speech before a segment's start that exceed the error of its times
PHRASE, PAUSE = SAMPLE_RATE, SAMPLE_RATE // 4  # samples of a phrase that may be skipped, and of a pause between phrases
LONGEST_WORD, _PER_AMOUNT = (
    1.2,
    0.3,
)  # seconds of speech that a word may last, and per word of usual length
_PER_WORD, _PER_WIDE = 6.0, 0.6  # letters of a word of usual length; words per ideograph or kana


def amount(text: str) -> float:
    """The amount of text in words of usual length, also for scripts without spaces.

    >>> amount("and so my fellow Americans"), amount("漢字仮名交")
    (5.5, 3.0)
    """
    total = 0.0
    for token in text.split():
        wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in token)
        narrow = len(token) - wide
        total += wide * _PER_WIDE + (max(narrow / _PER_WORD, 1.0) if narrow else 0.0)
    return total


def speech(regions: Sequence[Region]) -> int:
    """Samples of speech."""
    return sum(region.end - region.start for region in regions)


def speech_between(regions: Sequence[Region], start: float, end: float) -> float:
    """Seconds of speech between `start` and `end` (seconds of the recording)."""
    low, high = start * SAMPLE_RATE, end * SAMPLE_RATE
    return sum(max(min(one.end, high) - max(one.start, low), 0.0) for one in regions) / SAMPLE_RATE


class Pace:
    """The speaking rate of a recording, estimated during decoding from segments with enough speech."""

    def __init__(self) -> None:
        self._rates: list[float] = []

    def watch(self, segments: Sequence[Segment], regions: Sequence[Region]) -> None:
        """Add the segments of one window."""
        rates = (_rate(one, regions) for one in segments)
        self._rates += [rate for rate in rates if rate is not None]

    @property
    def usual(self) -> float:
        """Words per second of speech; a typical rate until enough speech has been decoded."""
        return median(self._rates) if len(self._rates) >= LEAST_KNOWN else TYPICAL

    @property
    def least(self) -> float:
        """Words per second of speech below which a segment is decoded again, since words may have been skipped."""
        return max(SLOWEST, LAGGING * self.usual) if len(self._rates) >= LEAST_KNOWN else SLOWEST


def is_thin(segment: Segment, regions: Sequence[Region], least: float = SLOWEST) -> bool:
    """Whether a segment has fewer than `least` words per second of speech; below 1.4 some were skipped."""
    rate = _rate(segment, regions)
    return rate is not None and rate < least


def _rate(segment: Segment, regions: Sequence[Region]) -> float | None:
    """Words per second of speech in a segment; None for too little speech."""
    spoken = speech_between(regions, segment.start, segment.end)
    return amount(segment.text) / spoken if spoken >= LONGEST_PLAIN else None


def may_skip(segment: Segment, regions: Sequence[Region], earliest: float, usual: float) -> bool:
    """Whether a phrase may be missing in a segment that is not thin; its word times decide (`is_stretched`).

    The segment begins in the middle of speech that is not in an earlier segment (the last of which ends at `earliest`
    seconds), or it holds a pause and a phrase, and fewer words than usual.
    """
    start, end = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
    if any(max(one.start, round(earliest * SAMPLE_RATE)) + LATE < start < one.end for one in regions):
        return True
    rate = _rate(segment, regions)
    if rate is None or rate >= SLOW * usual:
        return False
    cut = [Region(max(one.start, start), min(one.end, end)) for one in regions]
    inside = [one for one in cut if one.start < one.end]
    pauses = [two.start - one.end for one, two in pairwise(inside)]
    return any(pause >= PAUSE for pause in pauses) and any(one.end - one.start >= PHRASE for one in inside)


def is_stretched(segment: Segment, regions: Sequence[Region]) -> bool:
    """Whether a word of a segment spans more speech than one word can, so that words are missing."""
    return any(
        speech_between(regions, word.start, word.end) > LONGEST_WORD + _PER_AMOUNT * amount(word.word)
        for word in segment.words
    )


def is_crowded(segment: Segment, regions: Sequence[Region]) -> bool:
    """Whether a segment has more words than can be said in the speech around it."""
    slack = SLACK / SAMPLE_RATE
    spoken = speech_between(regions, segment.start - slack, segment.end + slack)
    return amount(segment.text) > FASTEST * spoken + SPARE_WORDS


def uncovered(regions: Sequence[Region], segments: Sequence[Segment], start: int, end: int) -> Iterator[list[Region]]:
    """Speech from sample `start` to `end` outside of segments.

    The rest of a region that overlaps a segment counts if it is too long to belong to the segment.
    """
    said = sorted((round(one.start * SAMPLE_RATE), math.ceil(one.end * SAMPLE_RATE)) for one in segments)
    edges = [start, *(edge for times in said for edge in times), max(end, said[-1][1] if said else end)]
    for lower, upper in zip(edges[::2], edges[1::2], strict=True):  # between segments
        missed = [part for region in regions if (part := _left(region, lower, min(upper, end), said))]
        if missed and speech(missed) >= SHORTEST_SPEECH:
            yield missed


def _left(region: Region, lower: int, upper: int, said: Sequence[tuple[int, int]]) -> Region | None:
    """The part of a region between two segments, if it is nearly all of the region or long."""
    claimed = any(first + SLACK < region.end and region.start < last - SLACK for first, last in said)
    if not claimed and lower - SLACK <= region.start and region.end <= upper + SLACK:
        return region
    part = Region(max(region.start, lower), min(region.end, upper))
    return part if part.end - part.start >= LONG_REST else None
