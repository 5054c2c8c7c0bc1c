"""A live system without a model: it hears a word each second of audio, and its work takes what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import AudioError, OptionError
from linnet.evaluation.streams.protocol import Update


class FakeTimer:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeStream:
    """Says word k of `words` as a guess when second k + 1 is complete, and makes it final one second later."""

    words: tuple[str, ...]
    timer: FakeTimer | None = None
    cost: float = 0.0  # seconds of work for each chunk
    fails_at: float = float("inf")
    given: int = 0
    final: int = 0
    pushed: list[float] = field(default_factory=list)  # seconds of each chunk
    behind: list[float] = field(default_factory=list)

    def push(self, samples: Samples, behind: float) -> Update:
        self.given += len(samples)
        self.pushed.append(len(samples) / SAMPLE_RATE)
        self.behind.append(behind)
        self._work()
        second = self.given // SAMPLE_RATE
        if second >= self.fails_at:
            raise AudioError("the stream ended: no more")
        return self._say(max(0, second - 1), self.words[max(0, second - 1) : second])

    def finish(self) -> Update:
        self._work()
        return self._say(min(len(self.words), self.given // SAMPLE_RATE), ())

    @property
    def counters(self) -> Mapping[str, float]:
        return {"decodes": len(self.pushed)}

    def _say(self, count: int, tail: tuple[str, ...]) -> Update:
        words = self.words[self.final : count]
        self.final = max(self.final, count)
        return Update("".join(f" {word}" for word in words), words, tail)

    def _work(self) -> None:
        if self.timer is not None:
            self.timer.now += self.cost


class FakeLive:
    """Streams that say the words one to nine; German is unknown to it."""

    name, revision, dtype, device, engine_name = "fake", "1", "float32", "cpu", "fake cpu float32"
    languages = ("en",)
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    def __init__(self, fails_at: float = float("inf")) -> None:
        self.options: dict[str, Any] = {"policy": "fake", "language": None}
        self.opened: list[str | None] = []
        self._fails_at = fails_at

    def open(self, language: str | None) -> FakeStream:
        if language not in (None, *self.languages):
            raise OptionError(f"language {language!r} is unknown to this model")
        self.opened.append(language)
        return FakeStream(self.words, fails_at=self._fails_at)
