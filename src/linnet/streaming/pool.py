"""Many streams on one model: their looks are answered together, and no more are admitted than can be served in time.

pool = SessionPool(model)
place = pool.admit(StreamOptions(language="en"))       # PoolFull where another would make all of them late
pool.push(place, samples)
for place, events in pool.step().items(): ...
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from linnet.audio.types import SAMPLE_RATE
from linnet.errors import LinnetError
from linnet.streaming.events import Event
from linnet.streaming.options import StreamOptions
from linnet.streaming.protocol import Hypothesis, Query, StreamingModel
from linnet.streaming.session import StreamSession

USABLE = 0.7  # of the time may go into looks, so that a late one can be made up for
SPEECH = 8.0  # seconds of a typical window, for the measurement
MOST_WAITING = 5.0  # seconds of audio of a session
MOST_TOGETHER = 16  # windows in a batch


class PoolFull(LinnetError, RuntimeError):  # noqa: N818 (reads better where it is raised)
    """All places are taken; `retry_after` seconds from now one may be free."""

    def __init__(self, capacity: int, retry_after: float) -> None:
        super().__init__(
            f"all {capacity} places for streams on this machine are taken: try again in {retry_after:.0f} s, "
            "or serve a smaller model"
        )
        self.retry_after = retry_after


class SessionPool:
    """Sessions of one model. Not safe for several threads: whoever owns it calls `push` and `step` in turn."""

    def __init__(
        self,
        model: StreamingModel,
        *,
        capacity: int | None = None,
        most_waiting: float = MOST_WAITING,
        most_together: int = MOST_TOGETHER,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`capacity`: how many sessions at once; None measures it now, which takes a few looks."""
        self.model = model
        self._most_waiting, self._most_together, self._clock = most_waiting, most_together, clock
        self.capacity = measure_capacity(model, StreamOptions(), clock) if capacity is None else capacity
        self._sessions: dict[int, StreamSession] = {}
        self._opened = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def admit(self, options: StreamOptions | None = None) -> int:
        """Open a stream; returns its number. Raises `PoolFull`, and `OptionError` for what the model cannot take."""
        if len(self._sessions) >= self.capacity:
            raise PoolFull(self.capacity, 10.0)
        session = StreamSession(self.model, options, clock=self._clock)
        number = self._opened
        self._opened += 1
        self._sessions[number] = session
        session.begin()
        return number

    def push(self, number: int, samples: Any) -> None:
        """Give audio to a stream. See `StreamSession.push`. Raises `OptionError` for audio that is none."""
        self._session(number).take(samples)

    def flush(self, number: int) -> None:
        """Make the words of all audio so far final."""
        self._session(number).order("flush")

    def finish(self, number: int) -> None:
        """End a stream when its audio is heard; its place is free after its `Bye`."""
        self._session(number).order("stop")

    def leave(self, number: int) -> None:
        """Drop a stream whose listener is gone."""
        self._sessions.pop(number, None)

    def step(self) -> dict[int, list[Event]]:
        """Hear all audio, up to the next look of each stream, and take these looks together; returns the events.

        Call it again while it gives any. A stream with more audio waiting than may wait ends in an `Error`.
        """
        due: list[tuple[int, Query]] = []
        for number, session in list(self._sessions.items()):
            if session.waiting > self._most_waiting:
                self._overload(session)
                continue
            session.behind = session.waiting
            if len(due) < self._most_together and (query := self._advance(session)) is not None:
                due.append((number, query))
        self._answer(due)
        told = {number: events for number, session in self._sessions.items() if (events := session.events())}
        for number in [number for number, session in self._sessions.items() if session.closed]:
            del self._sessions[number]
        if due:  # the next to be served first are those that were not
            self._sessions = dict(sorted(self._sessions.items(), key=lambda one: one[0] in dict(due)))
        return told

    def _advance(self, session: StreamSession) -> Query | None:
        begun = self._clock()
        query = session.advance()
        session.charge(max(self._clock() - begun, 0.0))
        return query

    def _overload(self, session: StreamSession) -> None:
        session.end(
            "overload",
            f"{session.waiting:.1f} s of audio wait: more streams are served than this machine can; try again later",
        )

    def _answer(self, due: list[tuple[int, Query]]) -> None:
        if not due:
            return
        begun = self._clock()
        try:
            answers: list[Hypothesis] = self.model.answer([query for _, query in due])
        except LinnetError as error:  # the model's, so of all that asked
            for number, _ in due:
                self._sessions[number].end("model", str(error))
            return
        for (number, _), heard in zip(due, answers, strict=True):
            self._sessions[number].accept(heard)
            self._sessions[number].charge(max(self._clock() - begun, 0.0) / len(due))

    def _session(self, number: int) -> StreamSession:
        if number not in self._sessions:
            raise LinnetError(f"stream {number} has ended: open another one")
        return self._sessions[number]


def measure_capacity(model: StreamingModel, options: StreamOptions, clock: Callable[[], float]) -> int:
    """How many streams with these options the model serves in time, at least 1.

    The cost of a look is that of the second of two at 8 s of faint noise.
    """
    noise = (np.random.default_rng(0).standard_normal(round(SPEECH * SAMPLE_RATE)) * 1e-3).astype(np.float32)
    memory = model.begin(language=options.language or (model.languages[0] if model.languages else None))
    model.hear(memory, noise)
    cost = 0.0
    for _ in range(2):
        begun = clock()
        model.answer([Query(memory, ())])
        cost = clock() - begun
    return max(1, int(USABLE * options.step / max(cost, 1e-6)))
