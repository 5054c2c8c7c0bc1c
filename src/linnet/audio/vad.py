"""Voice activity detection: the probability of speech per 32 ms, and speech regions.

Shapes: F frames of 512 samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet.audio.silero import CONTEXT, FRAME, Memory, joined, load_network, part
from linnet.audio.types import Samples

BLOCK = 512 * FRAME  # samples per block: 16.4 s
_WARM_UP = 64 * FRAME  # samples before a block that warm up the network: 2 s
_FLOOR, _LOUD, _MOST_GAIN = -100.0, -20.0, 40.0  # dB


class Frames(NamedTuple):
    """Per frame [F]: the probability of speech, and the level in dB relative to full scale."""

    probability: npt.NDArray[np.float32]
    level: npt.NDArray[np.float32]


class Region(NamedTuple):
    """Speech from sample `start` to `end`; `joined`: split from the previous region in the middle of speech."""

    start: int
    end: int
    joined: bool = False


@dataclass(frozen=True)
class Sensitivity:
    """Thresholds of speech; the defaults prefer false alarms to missed words.

    A region starts at a frame of probability `on` and ends before the first of `pause` frames below `off`. An isolated
    region with fewer than `least` frames of probability `sure` is noise.
    """

    on: float = 0.3
    off: float = 0.15
    pause: int = 4  # frames: 128 ms
    sure: float = 0.5
    least: int = 0  # 0: every region is speech


class Watcher:
    """Computes the frames of successive blocks of a recording; blocks have `BLOCK` samples, the last may be shorter.

    The network's state drifts over minutes (silero-vad #725), so for each block a network starts from an empty state
    and 2 s of the previous block. Some starts leave it deaf for the whole block, so each network also goes on through
    the next block, and the higher probability counts; a frame depends on the last 18 to 34 s only. The network misses
    quiet voices, so quiet blocks are amplified.
    """

    def __init__(self) -> None:
        self._network = load_network()
        self._before = np.zeros(CONTEXT + _WARM_UP, np.float32)
        self._warm = 0  # frames of `before` that belong to the recording
        self._going_on: Memory | None = None  # that of the network that started for the previous block

    def push(self, block: Samples) -> Frames:
        """The frames of the next block, the last one padded with silence."""
        count = -(-len(block) // FRAME)
        padded = np.zeros(count * FRAME, np.float32)
        padded[: len(block)] = block
        levels = _levels(padded)
        sound = np.concatenate([self._before[len(self._before) - CONTEXT - self._warm * FRAME :], padded])
        sound *= _gain(levels)
        memory, begun = self._network.empty(), self._warm * FRAME
        if begun:
            _, memory = self._network.resume(sound[: begun + CONTEXT], memory)
        if self._going_on is not None:
            memory = joined(memory, self._going_on)
        probabilities, after = self._network.resume(sound[begun:], memory)
        self._going_on = part(after, 0, 1)
        frames = Frames(probabilities.max(0), levels)
        self._before = np.concatenate([self._before, padded])[-len(self._before) :]
        self._warm = min(self._warm + count, _WARM_UP // FRAME)
        return frames


def _levels(padded: Samples) -> npt.NDArray[np.float32]:
    power = np.square(padded.reshape(-1, FRAME), dtype=np.float64).mean(1)
    levels: npt.NDArray[np.float32] = (10.0 * np.log10(power + 10.0 ** (_FLOOR / 10))).astype(np.float32)
    return levels


def _gain(levels: npt.NDArray[np.float32]) -> np.float32:
    """The gain that raises the loudest frame to `_LOUD` dB, at most `_MOST_GAIN` dB and at least 0 dB."""
    return np.float32(10.0 ** (min(max(_LOUD - float(levels.max()), 0.0), _MOST_GAIN) / 20))


class RegionFinder:
    """Turns frames into speech regions of at most `longest` samples, each returned as soon as it ends.

    Longer speech is split in the second half at the quietest, least speech-like frame; the rest is `joined`. Regions
    consist of whole frames, so the last may end after the recording.
    """

    def __init__(self, longest: int, sensitivity: Sensitivity | None = None) -> None:
        self._longest = max(longest // FRAME, 2)
        self._sensitivity = sensitivity or Sensitivity()
        self._now = 0  # frames so far
        self._start: int | None = None  # of the open region
        self._end = 0  # after its last frame of speech
        self._joined = False
        self._sure = 0  # frames of the open region with probability `sure`
        self._scores: list[float] = []  # for each frame of the open region: low is a good place to cut

    @property
    def settled(self) -> int:
        """The sample before which no further region will start."""
        return (self._now if self._start is None else self._start) * FRAME

    def push(self, frames: Frames) -> list[Region]:
        """Add frames; returns the regions that they complete."""
        found = []
        for probability, level in zip(frames.probability.tolist(), frames.level.tolist(), strict=True):
            region = self._step(probability, level)
            if region is not None:
                found.append(region)
        return found

    def _step(self, probability: float, level: float) -> Region | None:
        if self._start is None and probability >= self._sensitivity.on:
            self._start, self._joined, self._sure = self._now, False, 0
        self._now += 1
        if self._start is None:
            return None
        self._scores.append(level + 30.0 * probability)
        self._sure += probability >= self._sensitivity.sure
        if probability >= self._sensitivity.off:
            self._end = self._now
        if self._now - self._end >= self._sensitivity.pause:
            return self._close(self._start)
        return self._cut(self._start) if self._end - self._start > self._longest else None

    def _close(self, start: int) -> Region | None:
        """Close the open region; None if it is noise."""
        self._start, self._scores = None, []
        noise = self._sure < self._sensitivity.least and not self._joined
        return None if noise else Region(start * FRAME, self._end * FRAME, self._joined)

    def _cut(self, start: int) -> Region:
        half = self._longest // 2
        place = start + half + int(np.argmin(self._scores[half : self._longest])) + 1
        region = Region(start * FRAME, place * FRAME, self._joined)
        del self._scores[: place - start]
        self._start, self._joined = place, True
        return region

    def finish(self) -> list[Region]:
        """End the recording; returns the open region."""
        region = None if self._start is None else self._close(self._start)
        return [] if region is None else [region]
