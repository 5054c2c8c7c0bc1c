"""Where speech is in a stream, frame by frame as it comes, whatever the chunks.

Shapes: a frame is 512 samples, 32 ms.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from linnet.audio.silero import CONTEXT, FRAME, load_network
from linnet.audio.types import SAMPLE_RATE, Samples

SECONDS = FRAME / SAMPLE_RATE  # of a frame
ON, OFF = 0.5, 0.35  # probabilities at which speech begins, and below which it has ended
STRETCH = 16  # frames without speech that end a stretch of it: 0.5 s
_PERIOD, _WARM_UP = 512, 64  # frames: a network is replaced every 16 s by one that began 2 s before
_FLOOR = -100.0  # dB, of silence
_LOUD, _START, _MOST_GAIN = -20.0, -40.0, 30.0  # dB
_FADING = 0.02  # dB a frame: after 30 s without a loud frame the level taken for speech is 20 dB less


class Activity(Protocol):
    """Tells of each frame how probable it is that somebody speaks."""

    def push(self, frame: Samples) -> float:
        """Of the next frame [512]."""
        ...


class LiveActivity:
    """The probability of speech of each frame of a stream.

    The network's memory drifts over minutes, so every 16 s another takes over that has heard the 2 s before: what
    `audio.vad.Watcher` gives for blocks of 16 s of a recording, but for the gain. Quiet voices are amplified by the
    loudest level of late, which falls slowly.
    """

    def __init__(self) -> None:
        self._network = load_network()
        self._memory = self._network.empty()
        self._next = self._memory
        self._frames = 0
        self._before = np.zeros(CONTEXT, np.float32)
        self._level = _START

    def push(self, frame: Samples) -> float:
        """The probability of speech in the next frame [512]."""
        place = self._frames % _PERIOD
        if place == 0 and self._frames:
            self._memory = self._next
        if place == _PERIOD - _WARM_UP:
            self._next = self._network.empty()
        sound = np.concatenate([self._before, frame]) * self._gain(frame)
        (probability,), self._memory = self._network.resume(sound, self._memory)
        if place >= _PERIOD - _WARM_UP:
            _, self._next = self._network.resume(sound, self._next)
        self._before = frame[-CONTEXT:]
        self._frames += 1
        return float(probability)

    def _gain(self, frame: Samples) -> np.float32:
        power = float(np.square(frame, dtype=np.float64).mean())
        self._level = max(10.0 * math.log10(power + 10.0 ** (_FLOOR / 10)), self._level - _FADING)
        return np.float32(10.0 ** (min(max(_LOUD - self._level, 0.0), _MOST_GAIN) / 20))


class SpeechTracker:
    """From probabilities of frames to the beginning and end of speech, in frames of the stream."""

    def __init__(self) -> None:
        self.frames = 0  # so far
        self.speaking = False  # in the newest one
        self.onset = 0  # the first of the present stretch of speech, which short pauses do not end
        self.end = -STRETCH  # after the last one of speech
        self.sure = 0  # frames of the present stretch that are speech for certain

    def push(self, probability: float) -> None:
        """Take a frame."""
        if not self.speaking and probability >= ON:
            self.speaking = True
            if self.frames - self.end >= STRETCH:
                self.onset, self.sure = self.frames, 0
        self.frames += 1
        if self.speaking and probability < OFF:
            self.speaking = False
        if self.speaking:
            self.end = self.frames
            self.sure += probability >= ON

    @property
    def silence(self) -> float:
        """Seconds since speech ended; 0 during it."""
        return (self.frames - self.end) * SECONDS

    def restart(self) -> None:
        """Let what follows be a stretch of its own."""
        self.speaking, self.end = False, min(self.end, self.frames - STRETCH)
        self.onset, self.sure = self.frames, 0
