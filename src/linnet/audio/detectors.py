"""What of a recording is to be recognized, found as its samples come: its speech, or all of it, cut in its pauses."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.audio.vad import BLOCK, Region, RegionFinder, Sensitivity, Watcher

SHORTEST_REST = SAMPLE_RATE // 10  # samples at a recording's end, or left of a window, that hold no word
SEARCH_SECONDS = 5.0  # at a window's end, in which its last pause is looked for
PAUSE = SAMPLE_RATE // 50  # 20 ms
PAUSE_DEPTH = 25.0  # dB below a window's loud stretches: here nobody speaks
CERTAIN = Sensitivity(sure=0.5, least=3)


class Detector(Protocol):
    """Finds regions in samples that come in order, each region as soon as it is known.

    `block`: samples that are pushed at a time; the last time there may be fewer. `covers`: the regions are all that
    there is, one after another, each to be recognized alone; else they have pauses between them, and may share a
    window.
    """

    block: int
    covers: bool

    def begin(self, longest: int) -> None:
        """Begin a recording, of which no region is to be longer than `longest` samples."""
        ...

    def push(self, samples: Samples) -> list[Region]:
        """Take the next samples; the regions that they complete."""
        ...

    @property
    def settled(self) -> int:
        """The sample before which no further region will start."""
        ...

    def finish(self) -> list[Region]:
        """The regions that the end of the recording completes."""
        ...


class VoiceActivity:
    """A `Detector` of speech, by the network of `audio.vad`."""

    block = BLOCK
    covers = False

    def __init__(self, sensitivity: Sensitivity = CERTAIN) -> None:
        self._sensitivity = sensitivity

    def begin(self, longest: int) -> None:
        """Begin a recording. Raises `ModelError` where the network is missing."""
        self._watcher, self._finder = Watcher(), RegionFinder(longest, self._sensitivity)

    def push(self, samples: Samples) -> list[Region]:
        """Take a block; the regions of speech that end in it, in whole frames: the last may end after the block."""
        return self._finder.push(self._watcher.push(samples))

    @property
    def settled(self) -> int:
        """The sample before which no further region will start."""
        return self._finder.settled

    def finish(self) -> list[Region]:
        """The region that is still open."""
        return self._finder.finish()


class PauseCutter:
    """A `Detector` that takes all of a recording but digital silence, cut in its quietest places.

    Each region but the last is as long as it may be, less up to 5 s; it is `joined` to the one before it where the
    place between them is no pause. A last rest of up to 0.1 s is left out.
    """

    block = SAMPLE_RATE
    covers = True

    def begin(self, longest: int) -> None:
        """Begin a recording."""
        self._longest = longest
        self._held = np.zeros(0, np.float32)  # samples after the last cut
        self._start = 0
        self._joined = False

    def push(self, samples: Samples) -> list[Region]:
        """Take the next samples; the regions that they make too long."""
        self._held = np.concatenate([self._held, samples])
        found: list[Region] = []
        while len(self._held) > self._longest:
            whole = self._held[: self._longest]
            cut = quietest_point(whole)
            found += self._take(cut, paused=_is_pause(whole, cut))
        return found

    def _take(self, count: int, *, paused: bool) -> list[Region]:
        """The next `count` samples as a region, or none where they are digital silence, which says nothing."""
        sounds = bool(self._held[:count].any())
        region = Region(self._start, self._start + count, self._joined)
        self._held, self._start = self._held[count:], region.end
        self._joined = sounds and not paused
        return [region] if sounds else []

    @property
    def settled(self) -> int:
        """The sample before which no further region will start: the last cut."""
        return self._start

    def finish(self) -> list[Region]:
        """What is left."""
        rest = len(self._held)
        return self._take(rest, paused=True) if rest > (SHORTEST_REST if self._start else 0) else []


def choose_detector(*, vad: bool) -> Detector:
    """Of speech, or of all of a recording."""
    return VoiceActivity() if vad else PauseCutter()


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
