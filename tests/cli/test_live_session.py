"""What an evaluation sees of a session's events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linnet.cli.evaluate_stream import LiveSession
from linnet.errors import LinnetError
from linnet.evaluation.streams.protocol import Update
from linnet.streaming.events import Bye, Error, Event, Final, Partial, Stats, Vad
from linnet.streaming.events import Warning as StreamWarning
from linnet.transcription.transcript import Word


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, 0.0, 0.0) for word in text.split())


def final(text: str, *, last: bool = False) -> Final:
    return Final(seq=0, time=0.0, segment=0, text=text, words=words(text), reason="stable", last=last)


def partial(stable: str, volatile: str = "") -> Partial:
    said = words(stable + volatile)
    return Partial(seq=0, time=0.0, segment=0, stable=stable, volatile=volatile, words=said)


class Script:
    """A session that says what it is told to."""

    def __init__(self, *pushes: list[Event]) -> None:
        self._pushes = list(pushes)

    def start(self) -> list[Event]:
        return []

    def push(self, samples: Any, *, behind: float = 0.0) -> list[Event]:
        return self._pushes.pop(0)

    def finish(self) -> list[Event]:
        return self._pushes.pop(0)


def updates(*pushes: list[Event]) -> list[Update]:
    session = LiveSession(Script(*pushes))  # type: ignore[arg-type]
    return [session.push(np.zeros(1, np.float32), 0.0) for _ in pushes[:-1]] + [session.finish()]


def test_words_and_tails_are_those_of_the_last_events_of_a_push() -> None:
    found = updates(
        [Vad(seq=0, time=0.0, speaking=True, at=0.0)],
        [partial(" one", " too"), partial(" one two")],
        [final(" one"), final(" two"), partial("", " three")],
        [final(" three")],
        [final(" four", last=True)],
        [],
    )
    assert found == [
        Update(),
        Update("", (), ("one", "two")),
        Update(" one two", ("one", "two"), ("three",)),
        Update(" three", ("three",), ()),  # nothing is told behind it
        Update(" four", ("four",), ()),
        Update(),
    ]


def test_a_segment_that_ends_without_words_clears_the_tail() -> None:
    assert updates([partial("", " uh")], [final("", last=True)], [])[1] == Update("", (), ())


def test_statistics_and_warnings_are_counted() -> None:
    stats = Stats(seq=0, time=0.0, decodes=3, compute=0.1, lag=0.0, finals=1, late_disagreements=2)
    warnings: list[Event] = [StreamWarning(seq=0, time=0.0, code="lag", message="late")] * 2
    session = LiveSession(Script([*warnings, stats], [Bye(seq=0, time=0.0, words=1)]))  # type: ignore[arg-type]
    session.push(np.zeros(1, np.float32), 0.0)
    session.finish()
    assert session.counters == {"decodes": 3, "late_disagreements": 2, "lag_warnings": 2}


def test_an_error_is_raised_with_its_reason() -> None:
    with pytest.raises(LinnetError, match="the stream ended: too much waits"):
        updates([Error(seq=0, time=0.0, code="overload", message="too much waits")], [])
