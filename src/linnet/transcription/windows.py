"""Recordings of any length cut into windows, at constant memory: where speech is, or all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from linnet.arrays import Array
from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.audio.vad import BLOCK, Region, RegionFinder, Sensitivity, watch
from linnet.transcription.packing import PAD, Packer, Span, longest_region
from linnet.transcription.transcript import Segment

SHORTEST_REST = SAMPLE_RATE // 10  # samples at a recording's end, or left of a window, that hold no word
SEARCH_SECONDS = 5.0  # at a window's end, in which its last pause is looked for
PAUSE = SAMPLE_RATE // 50  # 20 ms
CERTAIN = Sensitivity(sure=0.5, least=3)
EDGE = SAMPLE_RATE  # samples without speech at a recording's start and end that stay in its first and last window
PAUSE_DEPTH = 25.0  # dB below a window's loud stretches: here nobody speaks


class Trial(Protocol):
    """The hearings of a stretch of which too few words were heard at first."""

    def must_say_more(self, segments: Sequence[Segment]) -> bool:
        """Whether words are known to be missing, and are missing in what the whole stretch was heard to say, too."""
        ...

    def book(self, segments: Sequence[Segment]) -> list[Segment]:
        """Take what one window of the stretch was heard to say; what stands, once all of them are heard."""
        ...


@dataclass(frozen=True)
class Window:
    """What one encoder pass hears: samples of the recording from `start` on, and the regions of speech in them.

    `joined`: it starts where the window before it ended, and a word may lie across. `again`: it holds what the model
    passed over when it heard it among other speech; `trial`: what it is heard to say must beat an earlier hearing.
    """

    start: int
    samples: Samples
    regions: tuple[Region, ...]
    joined: bool = False
    again: bool = False
    trial: Trial | None = None
    features: Array | None = None

    @property
    def end(self) -> int:
        """The sample of the recording after the last."""
        return self.start + len(self.samples)

    def part(self, start: int, end: int) -> Window:
        """What lies from sample `start` to `end` of the recording, with its speech; not joined."""
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
        """This and the `joined` window after it as one, cut again where both are longer than `limit` samples."""
        samples = np.concatenate([self.samples, other.samples])
        whole = replace(self, samples=samples, regions=self.regions + other.regions, features=None)
        if len(samples) <= limit:
            return [whole]
        cut = self.start + quietest_point(samples[:limit])
        return [whole.part(self.start, cut), replace(whole.part(cut, whole.end), joined=True)]


class WindowPlan:
    """The windows of a recording in order, at most `limit` samples each; to be gone through once.

    With `vad` they hold what was heard as speech, packed by `packing.Packer`; without it they follow one another, cut
    in their quietest places. `length`: samples of the recording read so far, all of them after the last window.
    """

    def __init__(self, source: AudioSource, limit: int, *, vad: bool, longest_gap: int | None = None) -> None:
        self._source, self._limit, self._vad, self._longest_gap = source, limit, vad, longest_gap
        self.length = 0

    def __iter__(self) -> Iterator[Window]:
        return self._spoken() if self._vad else self._all()

    def _spoken(self) -> Iterator[Window]:
        fits = len(self._source.window(0, self._limit + 1)) <= self._limit
        finder = RegionFinder(self._limit if fits else longest_region(self._limit), CERTAIN)
        packer = Packer(self._limit + 2 * PAD if fits else self._limit, self._longest_gap)
        held, start = np.zeros(0, np.float32), 0  # samples from `start` on that a window may still need
        begun = False  # a window was given

        def blocks() -> Iterator[Samples]:
            nonlocal held
            while len(block := self._source.window(self.length, BLOCK)):
                held = np.concatenate([held, block])
                self.length += len(block)
                yield block

        def window(span: Span, *, last: bool = False) -> Window:
            nonlocal begun
            first, end = self._with_edges(span, first=not begun and start == 0, last=last)
            begun = True
            return Window(first, held[first - start : end - start].copy(), span.regions, span.joined)

        for frames in watch(blocks()):
            spans = [span for region in finder.push(frames) for span in packer.push(region)]
            for span in (*spans, *packer.wait(finder.settled)):
                yield window(span)
            needed = min(packer.oldest(finder.settled), self.length)
            if begun or needed > EDGE:
                held, start = held[needed - start :], needed
        spans = [span for region in finder.finish() for span in packer.push(region)]
        spans += packer.finish()
        for span in spans:
            yield window(span, last=span is spans[-1])

    def _with_edges(self, span: Span, *, first: bool, last: bool) -> tuple[int, int]:
        """Start and end of a span with the recording's own edges, where these are near and a window has room."""
        start, end = span.start, min(span.end, self.length)
        if first and start <= EDGE and end <= self._limit:
            start = 0
        if last and self.length - end <= EDGE and self.length - start <= self._limit:
            end = self.length
        return start, end

    def _all(self) -> Iterator[Window]:
        start, joined = 0, False
        while len(samples := self._source.window(start, self._limit + 1)) > (SHORTEST_REST if start else 0):
            paused = True
            if len(samples) > self._limit:
                samples = samples[: self._limit]
                cut = quietest_point(samples)
                paused = _is_pause(samples, cut)
                samples = samples[:cut]
            end = self.length = start + len(samples)
            if samples.any():  # digital silence says nothing
                yield Window(start, samples, (Region(start, end),), joined)
            start, joined = end, not paused and bool(samples.any())
        self.length = start + len(samples)


def quietest_point(samples: Samples) -> int:
    """Where to cut: the middle of the quietest 20 ms in the last 5 s (at most the last half) of these samples.

    Of equally quiet places the last. The result lies in 1 to `len(samples)`.

    >>> quietest_point(np.concatenate([np.ones(9000), np.zeros(1000), np.ones(2000)]).astype(np.float32))
    9840
    """
    search = min(round(SEARCH_SECONDS * SAMPLE_RATE), len(samples) // 2)
    tail = samples[len(samples) - search :].astype(np.float64)
    if len(tail) < PAUSE:
        return len(samples)
    total = np.concatenate([[0.0], np.cumsum(tail * tail)])
    energy = (total[PAUSE:] - total[:-PAUSE])[::-1]  # of each 20 ms, the last first
    quiet_start = len(energy) - 1 - int(np.argmin(np.round(energy, 9)))
    return len(samples) - search + quiet_start + PAUSE // 2


def _is_pause(samples: Samples, cut: int) -> bool:
    """Whether the 20 ms around a cut are far quieter than the loud stretches of these samples."""
    power = np.square(samples[: len(samples) // PAUSE * PAUSE].reshape(-1, PAUSE), dtype=np.float64).mean(1)
    place = samples[max(cut - PAUSE // 2, 0) : cut + PAUSE // 2].astype(np.float64)
    loud = float(np.percentile(power, 90)) if len(power) else 0.0
    return bool(np.square(place).mean() <= loud * 10.0 ** (-PAUSE_DEPTH / 10))
