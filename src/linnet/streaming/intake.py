"""The audio of a stream on its way: cut into frames whatever the chunks, its speech found, its newest seconds held."""

from __future__ import annotations

from collections import deque

import numpy as np

from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.streaming.activity import SECONDS, Activity, LiveActivity, SpeechTracker

_HELD = 160  # frames: 5 s, for the pre-roll and for a cut that lies back
CUT_WITHIN = 4.0  # seconds before the newest audio in which a cut is made


class Intake:
    """What was given, what of it is heard, and what was found in it. Times are seconds of the stream."""

    def __init__(self, activity: Activity | None = None) -> None:
        self.given = 0  # samples
        self.speech = SpeechTracker()
        self._activity = activity or LiveActivity()
        self._waiting: list[Samples] = []  # whole audio that is not heard yet
        self._held: deque[Samples] = deque(maxlen=_HELD)  # the newest frames that were
        self._probabilities: deque[float] = deque(maxlen=round(CUT_WITHIN / SECONDS))

    @property
    def now(self) -> float:
        """The end of the newest frame, which at the end of a stream is filled up."""
        return self.speech.frames * SECONDS

    @property
    def position(self) -> int:
        """Samples that were heard."""
        return min(self.speech.frames * FRAME, self.given)

    @property
    def waiting(self) -> float:
        """Seconds of audio that were given and not heard yet."""
        return (self.given - self.position) / SAMPLE_RATE

    @property
    def probability(self) -> float:
        """That the newest frame is speech."""
        return self._probabilities[-1] if self._probabilities else 0.0

    def add(self, samples: Samples) -> None:
        """Take audio."""
        if len(samples):
            self._waiting.append(samples)
            self.given += len(samples)

    def hear(self, *, last: bool) -> Samples | None:
        """The next frame [512], heard; None where no whole one waits. `last`: the rest is one, with silence behind."""
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
        """The next samples, filled up to a frame."""
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
        """The heard audio from about a time on, and when exactly it begins; of old audio what is still held."""
        first = max(self.speech.frames - len(self._held), round(start / SECONDS))
        kept = list(self._held)[len(self._held) - (self.speech.frames - first) :]
        return first * SECONDS, np.concatenate([np.zeros(0, np.float32), *kept])

    def cut(self, window: float) -> float:
        """Where to end a window of so many seconds: after the frame of its last seconds that is least like speech."""
        reach = max(1, min(len(self._probabilities), round((window - 1.0) / SECONDS)))
        newest = list(self._probabilities)[::-1][:reach]
        return (self.speech.frames - newest.index(min(newest))) * SECONDS

    def clear(self) -> None:
        """Let all audio go, at the end."""
        self._held.clear()
        self._waiting.clear()
