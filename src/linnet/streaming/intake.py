"""Incoming audio of a stream: framed independently of chunks, with voice activity and a buffer of recent seconds."""

from __future__ import annotations

from collections import deque

import numpy as np

from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.streaming.activity import SECONDS, Activity, LiveActivity, SpeechTracker

_HELD = 160  # frames: 5 s, for the pre-roll and for a cut that lies back
CUT_WITHIN = 4.0  # seconds before the newest audio in which a cut is made


class Intake:
    """Received audio, how much of it is processed, and its speech activity. Times are seconds of the stream."""

    def __init__(self, activity: Activity | None = None) -> None:
        self.given = 0  # samples received
        self.speech = SpeechTracker()
        self._activity = activity or LiveActivity()
        self._waiting: list[Samples] = []  # audio not processed yet
        self._held: deque[Samples] = deque(maxlen=_HELD)  # the newest processed frames
        self._probabilities: deque[float] = deque(maxlen=round(CUT_WITHIN / SECONDS))

    @property
    def now(self) -> float:
        """The end of the newest processed frame; the last frame of a stream is zero-padded."""
        return self.speech.frames * SECONDS

    @property
    def position(self) -> int:
        """Samples processed so far."""
        return min(self.speech.frames * FRAME, self.given)

    @property
    def waiting(self) -> float:
        """Seconds of audio received and not processed yet."""
        return (self.given - self.position) / SAMPLE_RATE

    @property
    def probability(self) -> float:
        """The probability of speech in the newest frame."""
        return self._probabilities[-1] if self._probabilities else 0.0

    def add(self, samples: Samples) -> None:
        """Receive audio."""
        if len(samples):
            self._waiting.append(samples)
            self.given += len(samples)

    def next_frame(self, *, last: bool) -> Samples | None:
        """Process and return the next frame [512], or None if it is incomplete; `last` zero-pads the rest."""
        count = self.given - self.speech.frames * FRAME
        if count < FRAME and (not last or count <= 0):
            return None
        frame = self._take(min(count, FRAME))
        probability = self._activity.push(frame)
        self.speech.push(probability)
        self._held.append(frame)
        self._probabilities.append(probability)
        return frame

    def _take(self, count: int) -> Samples:
        """The next samples, zero-padded to a frame."""
        parts: list[Samples] = []
        while count:
            first = self._waiting[0]
            parts.append(first[:count])
            if len(first) > count:
                self._waiting[0] = first[count:]
            else:
                del self._waiting[0]
            count -= len(parts[-1])
        whole = np.concatenate(parts)
        return np.pad(whole, (0, FRAME - len(whole)))

    def since(self, start: float) -> tuple[float, Samples]:
        """Processed audio from about `start` on, as far as it is still kept, and its exact start time."""
        first = max(self.speech.frames - len(self._held), round(start / SECONDS))
        kept = list(self._held)[len(self._held) - (self.speech.frames - first) :]
        return first * SECONDS, np.concatenate([np.zeros(0, np.float32), *kept])

    def cut(self, after: float) -> float:
        """Choose where a window ends: behind the recent frame least likely to be speech, and not before `after`."""
        reach = max(1, min(len(self._probabilities), round((self.now - after) / SECONDS)))
        newest = list(self._probabilities)[::-1][:reach]
        return max((self.speech.frames - newest.index(min(newest))) * SECONDS, after)

    def clear(self) -> None:
        """Release all audio."""
        self._held.clear()
        self._waiting.clear()
