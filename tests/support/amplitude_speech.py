"""Speech for tests of streams: a word is a stretch of one amplitude, and a model reads it off.

So what should be heard is known to the sample, at whatever chunks, and nothing has to be loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from linnet.alignment.words import TimedWord
from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.streaming.options import CommitTiming
from linnet.streaming.protocol import Hypothesis, Query

WHOLE = 10  # frames of a word; while fewer were heard, the model takes it for another
STEP = 0.01  # of amplitude from a word to the next
LATENT = 5000  # a token is a word's number, and this more while the word is cut


def spoken(words: Sequence[int], gaps: Sequence[int]) -> Samples:
    """Words by number, from 1, each with so many silent frames before it; ten frames of silence at the end."""
    parts = [np.zeros(10 * FRAME, np.float32)]
    for word, gap in zip(words, gaps, strict=True):
        parts += [np.zeros(gap * FRAME, np.float32), np.full(WHOLE * FRAME, word * STEP, np.float32)]
    return np.concatenate([*parts, np.zeros(10 * FRAME, np.float32)])


def text(words: Sequence[int]) -> str:
    """What should be heard."""
    return "".join(f" w{word}" for word in words)


class LoudIsSpeech:
    """Speech is what is not silent; as `linnet.streaming.activity.Activity`."""

    def push(self, frame: Samples) -> float:
        return float(np.abs(frame).max() > STEP / 2)


class AmplitudeModel:
    """A `StreamingModel` that reads words off their amplitudes, and guesses wrongly at cut ones."""

    name, engine_name = "amplitudes", "numpy"
    languages: tuple[str, ...] = ("en",)
    carries = True
    timing = CommitTiming()

    def __init__(self, *, window: float = 30.0, forgets: bool = True, most_tokens: int = 224) -> None:
        self.window, self.forgets, self.most_tokens = window, forgets, most_tokens
        self.batches: list[int] = []
        self.longest = 0.0  # seconds of audio in any memory
        self.most_committed = 0  # final tokens in any query

    def prompt(self, text: str) -> tuple[int, ...]:
        return tuple(range(len(text.split())))

    def begin(self, *, language: str | None, prompt: Sequence[int] = ()) -> list[Samples]:
        return []

    def add_audio(self, memory: list[Samples], samples: Samples) -> None:
        memory.append(samples)
        self.longest = max(self.longest, sum(map(len, memory)) / SAMPLE_RATE)

    def forget(self, memory: list[Samples], before: float, committed: tuple[int, ...]) -> Any:
        return [np.concatenate(memory)[round(before * SAMPLE_RATE) :]] if self.forgets else None

    def encoded(self, memory: list[Samples]) -> float:
        return sum(map(len, memory)) / SAMPLE_RATE

    def room(self, memory: list[Samples]) -> float:
        return self.window - sum(map(len, memory)) / SAMPLE_RATE

    def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        self.batches.append(len(queries))
        self.most_committed = max([self.most_committed, *(len(query.committed) for query in queries)])
        return [self._read(query) for query in queries]

    def _read(self, query: Query) -> Hypothesis:
        found: list[tuple[int, float, float]] = []
        levels = np.rint(np.concatenate(query.memory) / STEP).astype(int)
        edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
        for first, last in pairwise(edges):
            level, count = int(levels[first]), last - first
            if level and count >= FRAME:
                cut = count < (WHOLE - 1) * FRAME  # of a word that a window begins with, a frame may be missing
                found.append((level + LATENT * cut, first / SAMPLE_RATE, last / SAMPLE_RATE))
        new = found[len(query.committed) :]
        words = tuple(
            TimedWord(f" w{token}", start, end, 0.95, False, (place,)) for place, (token, start, end) in enumerate(new)
        )
        return Hypothesis(tuple(token for token, *_ in new), (-0.05,) * len(new), words, ended=True)
