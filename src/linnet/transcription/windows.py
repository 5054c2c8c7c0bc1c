"""Split recordings of any length into windows, at constant memory: of detected speech, or of the whole recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from linnet.arrays import Array
from linnet.audio.detectors import Detector, quietest_point
from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.audio.vad import Region
from linnet.transcription.packing import PAD, RegionWindows, WindowPacker, WindowSpan, longest_region
from linnet.transcription.transcript import Segment

EDGE = SAMPLE_RATE  # samples without speech at the edges of a recording that are kept in its first and last window


class Retry(Protocol):
    """The decoding attempts for a span that yielded too few words at first."""

    def must_say_more(self, segments: Sequence[Segment]) -> bool:
        """Whether words are known to be missing, also in the result for the whole span."""
        ...

    def book(self, segments: Sequence[Segment]) -> list[Segment]:
        """Add the result of one window of the span; returns the final result once all are decoded."""
        ...


@dataclass(frozen=True)
class Window:
    """The input of one encoder pass: samples of the recording from `start` on, and the regions of speech in them.

    `joined`: it starts at the end of the window before it, and a word may be split. `again`: it holds speech that the
    model skipped before; `retry`: its result must have more words than an earlier one.
    """

    start: int
    samples: Samples
    regions: tuple[Region, ...]
    joined: bool = False
    again: bool = False
    retry: Retry | None = None
    features: Array | None = None

    @property
    def end(self) -> int:
        """The sample of the recording after the last one."""
        return self.start + len(self.samples)

    def part(self, start: int, end: int) -> Window:
        """The part from sample `start` to `end` of the recording, with its speech; not joined."""
        regions = [Region(max(one.start, start), min(one.end, end)) for one in self.regions]
        kept = tuple(one for one in regions if one.end > one.start)
        return replace(
            self,
            start=start,
            samples=self.samples[start - self.start : end - self.start],
            regions=kept,
            joined=False,
            features=None,
        )

    def followed_by(self, other: Window, limit: int) -> list[Window]:
        """This and the following `joined` window as one, split again if together they are longer than `limit`
        samples."""
        samples = np.concatenate([self.samples, other.samples])
        whole = replace(self, samples=samples, regions=self.regions + other.regions, features=None)
        if len(samples) <= limit:
            return [whole]
        cut = self.start + quietest_point(samples[:limit])
        return [whole.part(self.start, cut), replace(whole.part(cut, whole.end), joined=True)]


class WindowPlan:
    """The windows of a recording in order, at most `limit` samples each; iterate once.

    They hold the regions of `detector`: those separated by pauses are packed by `packing.WindowPacker`, those that
    cover the recording are used one by one. `length`: samples of the recording read so far, all of them after the last
    window.
    """

    def __init__(self, source: AudioSource, limit: int, detector: Detector, *, longest_gap: int | None = None) -> None:
        self._source, self._limit, self._detector, self._longest_gap = source, limit, detector, longest_gap
        self.length = 0

    def __iter__(self) -> Iterator[Window]:
        detector, packer = self._detector, self._begin()
        held, start = np.zeros(0, np.float32), 0  # samples from `start` on that a window may still need
        begun = False  # a window was returned

        def window(span: WindowSpan, *, last: bool = False) -> Window:
            nonlocal begun
            first, end = self._with_edges(span, first=not begun and start == 0, last=last)
            begun = True
            return Window(first, held[first - start : end - start].copy(), span.regions, span.joined)

        while len(block := self._source.read(self.length, detector.block)):
            held = np.concatenate([held, block])
            self.length += len(block)
            spans = [span for region in detector.push(block) for span in packer.push(region)]
            for span in (*spans, *packer.wait(detector.settled)):
                yield window(span)
            needed = min(packer.oldest(detector.settled), self.length)
            if begun or needed > EDGE:
                held, start = held[needed - start :], needed
        spans = [span for region in detector.finish() for span in packer.push(region)]
        spans += packer.finish()
        for span in spans:
            yield window(span, last=span is spans[-1])

    def _begin(self) -> WindowPacker | RegionWindows:
        """Begin detection; returns the packer of its regions."""
        if self._detector.covers:
            self._detector.begin(self._limit)
            return RegionWindows()
        fits = len(self._source.read(0, self._limit + 1)) <= self._limit
        self._detector.begin(self._limit if fits else longest_region(self._limit))
        return WindowPacker(self._limit + 2 * PAD if fits else self._limit, self._longest_gap)

    def _with_edges(self, span: WindowSpan, *, first: bool, last: bool) -> tuple[int, int]:
        """Extend a span to the start and end of the recording if these are near and the window has room."""
        start, end = span.start, min(span.end, self.length)
        if self._detector.covers:
            return start, end
        if first and start <= EDGE and end <= self._limit:
            start = 0
        if last and self.length - end <= EDGE and self.length - start <= self._limit:
            end = self.length
        return start, end
