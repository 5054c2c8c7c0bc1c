"""A backend of a few lines, and recordings for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.errors import OptionError
from linnet.transcription.backend import Job, Outcome, Request
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.transcript import Segment


class Counting:
    """Hears one word in every second: its loudness times ten. Remembers its batches."""

    languages: tuple[str, ...] = ("en",)
    engine_name = "counting"

    def __init__(self, fault: Exception | None = None) -> None:
        self.batches: list[list[float]] = []
        self.fault = fault

    def job(self, source: AudioSource, options: TranscriptionOptions, *, ahead: int = 1) -> Job:
        if options.language not in (None, "en"):
            raise OptionError(f"no language {options.language}")
        return self._windows(source, options)

    def _windows(self, source: AudioSource, options: TranscriptionOptions) -> Job:
        segments, second = [], 0
        while len(samples := source.read(second * SAMPLE_RATE, SAMPLE_RATE)):
            group = "short" if len(samples) < SAMPLE_RATE else "whole"
            (word,) = yield [Request(samples, options, group=group, position=float(second))]
            segments.append(Segment(second, second + 1, word))
            second += 1
        return Outcome(tuple(segments), "en")

    def run(self, requests: Sequence[Request]) -> list[Any]:
        self.batches.append([round(float(request.samples[0]), 1) for request in requests])
        if self.fault is not None:
            raise self.fault
        return [str(round(float(request.samples[0]) * 10)) for request in requests]


def tone(level: float, seconds: float) -> Audio:
    return Audio(np.full(round(seconds * SAMPLE_RATE), level, np.float32), name=f"tone {level}")


class Torn:
    """A recording whose reading fails after two seconds, or whose file cannot be opened."""

    name, duration, notices = "torn", None, ()

    def __init__(self, fault: Exception) -> None:
        self.fault = fault

    def read(self, start: int, count: int) -> Any:
        if start >= 2 * SAMPLE_RATE:
            raise self.fault
        return np.full(count, 0.3, np.float32)

    def close(self) -> None:
        pass
