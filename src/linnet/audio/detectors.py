"""Streaming detectors of the regions to recognize: speech, or the whole recording split at pauses."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.audio.vad import BLOCK, Region, RegionFinder, Sensitivity, Watcher

SHORTEST_REST = SAMPLE_RATE // 10  # samples at the end of a recording or window that are too short for a word
SEARCH_SECONDS = 5.0  # at the end of a window, searched for its last pause
PAUSE = SAMPLE_RATE // 50  # 20 ms
PAUSE_DEPTH = 25.0  # dB below the loud parts of a window
CERTAIN = Sensitivity(sure=0.5, least=3)


class Detector(Protocol):
    """Finds regions in a stream of samples, each as soon as it is complete.

    `block`: samples per push; the last one may be shorter. `covers`: the regions cover the recording and are recognized
    separately; else they are separated by pauses and may share a window.
    """

    block: int
    covers: bool

    def begin(self, longest: int) -> None:
        """Begin a recording; regions are limited to `longest` samples."""
        ...

    def push(self, samples: Samples) -> list[Region]:
        """Add samples; returns the regions that they complete."""
        ...

    @property
    def settled(self) -> int:
        """The sample before which no further region will start."""
        ...

    def finish(self) -> list[Region]:
        """End the recording; returns the remaining regions."""
        ...


class VoiceActivity:
    """A `Detector` of speech by the voice activity network."""

    block = BLOCK
    covers = False

    def __init__(self, sensitivity: Sensitivity = CERTAIN) -> None:
        self._sensitivity = sensitivity

    def begin(self, longest: int) -> None:
        """Begin a recording. Raises `ModelError` where the network is missing."""
        self._watcher, self._finder = Watcher(), RegionFinder(longest, self._sensitivity)

    def push(self, samples: Samples) -> list[Region]:
        """Add a block; returns the speech regions that end in it, in whole frames, so the last may end after it."""
        return self._finder.push(self._watcher.push(samples))

    @property
    def settled(self) -> int:
        """The sample before which no further region will start."""
        return self._finder.settled

    def finish(self) -> list[Region]:
        """The last open region."""
        return self._finder.finish()


class PauseCutter:
    """A `Detector` of everything except digital silence, split at the quietest places.

    Regions have maximum length less up to 5 s; one is `joined` to the previous if they are not separated by a pause. A
    remainder of up to 0.1 s is dropped.
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
        """Add samples; returns the regions that they complete."""
        self._held = np.concatenate([self._held, samples])
        found: list[Region] = []
        while len(self._held) > self._longest:
            whole = self._held[: self._longest]
            cut = quietest_point(whole)
            found += self._take(cut, paused=_is_pause(whole, cut))
        return found

    def _take(self, count: int, *, paused: bool) -> list[Region]:
        """The next `count` samples as a region, or none if they are digital silence."""
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
        """The remainder."""
        rest = len(self._held)
        return self._take(rest, paused=True) if rest > (SHORTEST_REST if self._start else 0) else []


def choose_detector(*, vad: bool) -> Detector:
    """A detector of speech, or of the whole recording."""
    return VoiceActivity() if vad else PauseCutter()


def quietest_point(samples: Samples) -> int:
    """Where to split: the middle of the quietest 20 ms in the last 5 s (at most the last half) of these samples.

    The last one of equally quiet places, from 1 to `len(samples)`.

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
    """Whether the 20 ms around a split are far quieter than the loud parts of these samples."""
    power = np.square(samples[: len(samples) // PAUSE * PAUSE].reshape(-1, PAUSE), dtype=np.float64).mean(1)
    place = samples[max(cut - PAUSE // 2, 0) : cut + PAUSE // 2].astype(np.float64)
    loud = float(np.percentile(power, 90)) if len(power) else 0.0
    return bool(np.square(place).mean() <= loud * 10.0 ** (-PAUSE_DEPTH / 10))
