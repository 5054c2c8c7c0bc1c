"""Decode again where speech has no words or too few, and choose the result.

A stretch is decoded again as a whole, without timestamps; if words are still missing, in two parts split at a pause,
and so on. The result with more words is kept::

    first      [ one two three                                  ]   15 s of speech: too few words
    whole      [ one two three                                  ]   the model skips again
    parts      [ one two three ][ four ... nine ][ ten eleven   ]   stands
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import Region
from linnet.transcription.coverage import LONG_REST, SHORTEST_SPEECH, SLACK, amount, is_thin, speech, uncovered
from linnet.transcription.packing import PAD
from linnet.transcription.transcript import Segment
from linnet.transcription.windows import Retry, Window

SPARE = 1.5  # additional words that a later result needs: a difference of one may be chance
VERY_LONG_PAUSE = 2 * SAMPLE_RATE  # samples
SHORTEST_PART = SAMPLE_RATE  # samples of speech on each side of a split


@dataclass
class StretchRetry:
    """The results for one stretch: `first` is kept unless its parts together have more words. See `windows.Retry`."""

    first: tuple[Segment, ...]
    waiting: int  # parts not decoded yet
    missing: bool = False  # words are known to be missing in `first`
    within: Retry | None = None  # the stretch that contains this one
    found: list[Segment] = field(default_factory=list)

    def must_say_more(self, segments: Sequence[Segment]) -> bool:
        """Whether words are known to be missing, and this result has hardly more of them."""
        return self.missing and not self._is_more(segments)

    def _is_more(self, segments: Sequence[Segment]) -> bool:
        return words_in(segments) > words_in(self.first) + SPARE

    def book(self, segments: Sequence[Segment]) -> list[Segment]:
        """Add the result of one part; returns the final result of the outermost span once it is decided."""
        self.found += segments
        self.waiting -= 1
        if self.waiting:
            return []
        stands = self.found if self._is_more(self.found) else list(self.first)
        return self.within.book(stands) if self.within else stands


def words_in(segments: Sequence[Segment]) -> float:
    """The amount of text, in words of usual length."""
    return sum(amount(one.text) for one in segments)


def judge(
    window: Window, segments: Sequence[Segment], thin: Sequence[Segment], skipping: Sequence[Segment] = ()
) -> tuple[list[Segment], list[Window]]:
    """The current segments of a window, and the windows to decode again: those of `thin` segments, with few words for
    their speech.

    These may be slow speech; if words must be missing, they have low confidence. `skipping` segments are known to miss
    words: if the next result has no more words, they are decoded again in parts.
    """
    if not window.again:
        kept = [one for one in segments if one not in thin]
        tries = [
            _try(apart(_stretch(window, one, segments)), _marked([one], window), missing=one in skipping)
            for one in thin
        ]
        return kept, [part for parts in tries for part in parts]
    final = _marked(segments, window)
    wanting = bool(thin) or (window.retry is not None and window.retry.must_say_more(final))
    if wanting and (parts := halves(window)):
        return [], _try(parts, final, within=window.retry)
    return window.retry.book(final) if window.retry else list(final), []


def _marked(segments: Sequence[Segment], window: Window) -> tuple[Segment, ...]:
    """The segments, with low confidence where words must be missing."""
    return tuple(replace(one, low_confidence=one.low_confidence or is_thin(one, window.regions)) for one in segments)


def _try(
    parts: Sequence[Window], first: tuple[Segment, ...], within: Retry | None = None, *, missing: bool = False
) -> list[Window]:
    """The parts of a span to decode again; together they must yield more words than `first`."""
    retry = StretchRetry(first, len(parts), missing, within)
    return [replace(part, retry=retry, again=True) for part in parts]


def _stretch(window: Window, segment: Segment, segments: Sequence[Segment]) -> Window:
    """The stretch of one segment, up to the next one at most, including the speech that it begins or ends in."""
    after = min((one.start for one in segments if one.start >= segment.end), default=window.end / SAMPLE_RATE)
    start, end = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
    end = min(max(end, start + SHORTEST_SPEECH) + PAD, round(after * SAMPLE_RATE), window.end)
    before = max((round(one.end * SAMPLE_RATE) for one in segments if one.end <= segment.start), default=window.start)
    begun = [one.start for one in window.regions if one.start < start < one.end and start - one.start < LONG_REST]
    start = max(begun[0] - PAD, before) if begun else start  # a longer part is decoded again separately
    start = min(max(start, window.start), window.end - 1)
    return window.part(start, max(end, start + 1))


def apart(window: Window) -> list[Window]:
    """Split a window at very long pauses, without these: a model often stops at the first one."""
    groups: list[list[Region]] = []
    for region in window.regions:
        if groups and region.start - groups[-1][-1].end < VERY_LONG_PAUSE:
            groups[-1].append(region)
        else:
            groups.append([region])
    if len(groups) < 2:
        return [window]
    return [window.part(max(own[0].start - PAD, window.start), min(own[-1].end + PAD, window.end)) for own in groups]


def halves(window: Window) -> list[Window]:
    """Split a window at a pause, a long one near the middle of its speech; empty without a pause."""
    regions = window.regions
    total, best, place = speech(regions), 0.0, 0
    for count in range(1, len(regions)):
        before = speech(regions[:count])
        less = min(before, total - before)
        pause = regions[count].start - regions[count - 1].end
        if less >= SHORTEST_PART and (worth := less * pause) > best:
            best, place = worth, (regions[count].start + regions[count - 1].end) // 2
    return [window.part(window.start, place), window.part(place, window.end)] if place else []


def passed_over(window: Window, segments: Sequence[Segment], end: int) -> Iterator[Window]:
    """Stretches of speech before sample `end` that the model skipped in a window.

    Each extends from the segment before it to the one after it, at most a pad beyond its speech.
    """
    if window.again or not segments:
        return
    said = [(round(one.start * SAMPLE_RATE), round(one.end * SAMPLE_RATE)) for one in segments]
    for missed in uncovered(window.regions, segments, window.start, end):
        lower = max((stop for _, stop in said if stop <= missed[0].start + SLACK), default=window.start)
        upper = min((start for start, _ in said if start >= missed[-1].end - SLACK), default=end)
        start, stop = max(missed[0].start - PAD, lower), min(missed[-1].end + PAD, upper, end)
        if stop - start >= SHORTEST_SPEECH:
            yield from (replace(part, again=True) for part in apart(window.part(start, stop)))
