"""Streaming voice activity detection, frame by frame, independent of how the audio is chunked.

Shapes: a frame is 512 samples, 32 ms.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from linnet.audio.silero import CONTEXT, FRAME, joined, load_network, part
from linnet.audio.types import SAMPLE_RATE, Samples

SECONDS = FRAME / SAMPLE_RATE  # of a frame
ON, OFF = 0.5, 0.35  # probabilities at which speech begins, and below which it has ended
PAUSED = 0.2  # seconds without speech that are a pause
STRETCH = 16  # frames without speech that end a stretch of it: 0.5 s
_PERIOD, _WARM_UP = 512, 64  # frames: a network is replaced every 16 s by one that began 2 s before
_FLOOR = -100.0  # dB, of silence
_LOUD, _START, _MOST_GAIN = -20.0, -40.0, 30.0  # dB
_FADING = 0.02  # dB a frame: after 30 s without a loud frame the assumed speech level is 20 dB lower


class Activity(Protocol):
    """Estimates the probability of speech in each frame."""

    def push(self, frame: Samples) -> float:
        """Return the probability of speech in the next frame [512]."""
        ...


class LiveActivity:
    """The silero-vad speech probability of each frame of a stream.

    Every 16 s a fresh network, which has processed the preceding 2 s, takes the place of the older of two: the result
    equals `audio.vad.Watcher` on 16 s blocks of a recording, except for the gain. Quiet voices are amplified relative
    to the recent peak level, which decays slowly.
    """

    def __init__(self) -> None:
        self._network = load_network()
        self._memory = self._network.empty()  # of the older, the newer, and for 2 s that of the next one
        self._frames = 0
        self._before = np.zeros(CONTEXT, np.float32)
        self._level = _START

    def push(self, frame: Samples) -> float:
        """Return the probability of speech in the next frame [512]."""
        place = self._frames % _PERIOD
        if place == 0:
            self._memory = part(self._memory, -2, None)
        if place == _PERIOD - _WARM_UP:
            self._memory = joined(self._memory, self._network.empty())
        sound = np.concatenate([self._before, frame]) * self._gain(frame)
        probabilities, self._memory = self._network.resume(sound, self._memory)
        grown = probabilities[:-1] if place >= _PERIOD - _WARM_UP else probabilities
        self._before = frame[-CONTEXT:]
        self._frames += 1
        return float(grown.max())

    def _gain(self, frame: Samples) -> np.float32:
        power = float(np.square(frame, dtype=np.float64).mean())
        self._level = max(10.0 * math.log10(power + 10.0 ** (_FLOOR / 10)), self._level - _FADING)
        return np.float32(10.0 ** (min(max(_LOUD - self._level, 0.0), _MOST_GAIN) / 20))


class SpeechTracker:
    """Turns frame probabilities into speech onsets and ends, counted in frames of the stream."""

    def __init__(self) -> None:
        self.frames = 0  # so far
        self.speaking = False  # in the newest frame
        self.onset = 0  # first frame of the current speech stretch; short pauses do not end it
        self.resumed = 0  # first frame of the speech after the last pause
        self.end = -STRETCH  # one past the last speech frame
        self.sure = 0  # frames of the current stretch above the onset threshold

    def push(self, probability: float) -> None:
        """Process the probability of the next frame."""
        if not self.speaking and probability >= ON:
            self.speaking = True
            if self.silence >= PAUSED:
                self.resumed = self.frames
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
        """Start a new stretch of speech with the next frame."""
        self.speaking, self.end = False, min(self.end, self.frames - STRETCH)
        self.onset, self.sure = self.frames, 0
