"""Decoding again, and which result is kept: for speech without words, and spans with too few words.

A stretch is heard again as a whole, without timestamps; where words are missing still, in two parts, cut at a pause,
and so on. At the end the hearing with more words stands::

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

SPARE = 1.5  # words that a later hearing must have more: it may well hear one more or less
VERY_LONG_PAUSE = 2 * SAMPLE_RATE  # samples
SHORTEST_PART = SAMPLE_RATE  # samples of speech on each side of a cut


@dataclass
class StretchRetry:
    """The hearings of one stretch: `first` stands unless its parts together have more words. See `windows.Retry`."""

    first: tuple[Segment, ...]
    waiting: int  # parts that are not decoded yet
    missing: bool = False  # words are known to be missing in `first`
    within: Retry | None = None  # the stretch that this one is a part of
    found: list[Segment] = field(default_factory=list)

    def must_say_more(self, segments: Sequence[Segment]) -> bool:
        """Whether words are known to be missing, and this hearing has hardly more of them."""
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
    """How much is said, in words of usual length."""
    return sum(amount(one.text) for one in segments)


def judge(
    window: Window, segments: Sequence[Segment], thin: Sequence[Segment], skipping: Sequence[Segment] = ()
) -> tuple[list[Segment], list[Window]]:
    """The segments of a window that stand now, and what to hear again: `thin`, those with few words for their speech.

    They may be slow speech; with so few words that some must be missing they have low confidence. Of those that are
    `skipping` it is known that words are missing: what does not say more is heard again in parts.
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
    """The segments, of low confidence where they have so few words that some must be missing."""
    return tuple(replace(one, low_confidence=one.low_confidence or is_thin(one, window.regions)) for one in segments)


def _try(
    parts: Sequence[Window], first: tuple[Segment, ...], within: Retry | None = None, *, missing: bool = False
) -> list[Window]:
    """The parts of a span, to be decoded again; together they must yield more words than `first`."""
    retry = StretchRetry(first, len(parts), missing, within)
    return [replace(part, retry=retry, again=True) for part in parts]


def _stretch(window: Window, segment: Segment, segments: Sequence[Segment]) -> Window:
    """The stretch of one segment, up to the next one at most, with the speech that it begins or ends in."""
    after = min((one.start for one in segments if one.start >= segment.end), default=window.end / SAMPLE_RATE)
    start, end = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
    end = min(max(end, start + SHORTEST_SPEECH) + PAD, round(after * SAMPLE_RATE), window.end)
    before = max((round(one.end * SAMPLE_RATE) for one in segments if one.end <= segment.start), default=window.start)
    begun = [one.start for one in window.regions if one.start < start < one.end and start - one.start < LONG_REST]
    start = max(begun[0] - PAD, before) if begun else start  # a longer part is decoded again alone
    start = min(max(start, window.start), window.end - 1)
    return window.part(start, max(end, start + 1))


def apart(window: Window) -> list[Window]:
    """A window cut in its very long pauses, without these: at the first of them a model often stops writing."""
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
    """A window cut in one of its pauses, a long one near the middle of its speech; nothing where it has none."""
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
    """Stretches before sample `end` with speech and no segment, in a window of which the model wrote down other speech.

    Each reaches from the segment before it to the one after it, at most a pad beyond its speech.
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
