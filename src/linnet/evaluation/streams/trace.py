"""What one stream showed and when, and what each chunk cost: enough to make all its figures again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from linnet.data.fields import BadRow
from linnet.scoring.latency import DisplayUpdate, SpokenWord

_DIGITS = 5  # of seconds of work: 10 microseconds


@dataclass(frozen=True)
class StreamTrace:
    """A stream that was fed in chunks of `chunk` seconds; the last one may be shorter, and behind it comes the end.

    `compute[i]` are the seconds of work on chunk i, and last those of the end. `changes` are the chunks with which
    something changed on screen: (number, words that became final, words behind them). `reference` are the words that
    were said, None where their times are not known.
    """

    duration: float
    chunk: float
    compute: tuple[float, ...]
    changes: tuple[tuple[int, tuple[str, ...], tuple[str, ...]], ...]
    reference: tuple[SpokenWord, ...] | None = None
    counters: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def points(self) -> list[tuple[float, float]]:
        """For each chunk and for the end: the audio that had been given, and when the work on it was done.

        A chunk arrives when its last sample was said, and is worked on when the one before is done: done(i) =
        max(arrival(i), done(i - 1)) + compute(i).
        """
        found, done = [], 0.0
        for number, seconds in enumerate(self.compute, start=1):
            arrival = min(number * self.chunk, self.duration)
            done = max(arrival, done) + seconds
            found.append((arrival, done))
        return found

    @property
    def behind(self) -> list[float]:
        """For each chunk and for the end, the seconds from its arrival until it was worked through."""
        return [done - arrival for arrival, done in self.points]

    @property
    def shown(self) -> list[DisplayUpdate]:
        """The changes on screen, on both clocks."""
        return [DisplayUpdate(*self.points[number], final, tail) for number, final, tail in self.changes]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        words = self.reference
        return {
            "duration": self.duration,
            "chunk": self.chunk,
            "compute": [round(seconds, _DIGITS) for seconds in self.compute],
            "changes": [[number, list(final), list(tail)] for number, final, tail in self.changes],
            "reference": None if words is None else [[w.text, w.start, w.end, w.sure] for w in words],
            "counters": dict(self.counters),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StreamTrace:
        """What `to_dict` gave. Raises `BadRow` where it is damaged."""
        try:
            words = data["reference"]
            trace = cls(
                duration=float(data["duration"]),
                chunk=float(data["chunk"]),
                compute=tuple(float(seconds) for seconds in data["compute"]),
                changes=tuple((int(number), _words(final), _words(tail)) for number, final, tail in data["changes"]),
                reference=None if words is None else tuple(_spoken(*word) for word in words),
                counters={str(name): float(value) for name, value in data["counters"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadRow(f"its stream is damaged ({error})") from error
        if any(not 0 <= number < len(trace.compute) for number, _, _ in trace.changes):
            raise BadRow("its stream changes after its end")
        return trace


def _words(value: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise TypeError(f"{value!r} are no words")
    return tuple(value)


def _spoken(text: str, start: float, end: float, sure: bool) -> SpokenWord:
    return SpokenWord(str(text), float(start), float(end), bool(sure))
