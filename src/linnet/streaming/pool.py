"""Many streams on one model: decodes are batched, and only as many streams are admitted as can be served in time.

pool = SessionPool(model)
place = pool.admit(StreamOptions(language="en"))       # raises PoolFull if another one would delay all
pool.push(place, samples)
for place, events in pool.step().items(): ...
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE
from linnet.errors import LinnetError
from linnet.streaming.activity import SECONDS, LiveActivity
from linnet.streaming.events import Event
from linnet.streaming.options import StreamOptions
from linnet.streaming.protocol import Hypothesis, Query, StreamingModel
from linnet.streaming.session import StreamSession, failure

USABLE = 0.7  # share of the time to spend on decoding, so that delays can be caught up
FAST = 6.0  # tokens per second of fast speech, for measuring capacity
LOOKS = 4  # decodes measured
MOST_WAITING = 5.0  # seconds of audio per session
MOST_TOGETHER = 16  # windows in a batch


class PoolFull(LinnetError, RuntimeError):  # noqa: N818 (reads better where it is raised)
    """The pool is at capacity; a slot may be free in `retry_after` seconds."""

    def __init__(self, capacity: int, retry_after: float) -> None:
        super().__init__(
            f"all {capacity} streams that this machine can serve are in use: try again in {retry_after:.0f} s, "
            "or serve a smaller model"
        )
        self.retry_after = retry_after


class SessionPool:
    """Sessions of one model. Not thread-safe: its owner calls `push` and `step` in turn."""

    def __init__(
        self,
        model: StreamingModel,
        *,
        capacity: int | None = None,
        most_waiting: float = MOST_WAITING,
        most_together: int = MOST_TOGETHER,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`capacity`: maximum number of sessions; None measures it now by a few decodes, which take seconds."""
        self.model = model
        self._most_waiting, self._most_together, self._clock = most_waiting, most_together, clock
        self.capacity = measure_capacity(model, StreamOptions(), clock) if capacity is None else capacity
        self._sessions: dict[int, StreamSession] = {}
        self._opened = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def admit(self, options: StreamOptions | None = None) -> int:
        """Open a stream and return its number. Raises `PoolFull`, and `OptionError` for unsupported options."""
        if len(self._sessions) >= self.capacity:
            raise PoolFull(self.capacity, 10.0)
        session = StreamSession(self.model, options, clock=self._clock)
        number = self._opened
        self._opened += 1
        self._sessions[number] = session
        session.begin()
        return number

    def push(self, number: int, samples: Any) -> None:
        """Send audio to a stream. See `StreamSession.push`. Raises `OptionError` for invalid audio."""
        self._session(number).take(samples)

    def flush(self, number: int) -> None:
        """Finalize the words of all audio so far."""
        self._session(number).order("flush")

    def finish(self, number: int) -> None:
        """End a stream once its audio is processed; its slot is free after its `Bye`."""
        self._session(number).order("stop")

    def leave(self, number: int) -> None:
        """Drop a stream whose consumer is gone."""
        self._sessions.pop(number, None)

    def step(self) -> dict[int, list[Event]]:
        """Process all audio up to the next decode of each stream, batch these decodes, and return the events.

        Call it again while it returns any. A stream with too much audio waiting ends with an `Error`.
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
        sent = {number: events for number, session in self._sessions.items() if (events := session.events())}
        for number in [number for number, session in self._sessions.items() if session.closed]:
            del self._sessions[number]
        if due:  # streams not served now come first next time
            self._sessions = dict(sorted(self._sessions.items(), key=lambda one: one[0] in dict(due)))
        return sent

    def _advance(self, session: StreamSession) -> Query | None:
        begun = self._clock()
        try:
            return session.advance()
        except Exception as error:  # noqa: BLE001 - a failure of one stream must not reach the others
            session.end(*failure(error))
            return None
        finally:
            session.charge(max(self._clock() - begun, 0.0))

    def _overload(self, session: StreamSession) -> None:
        session.end(
            "overload",
            f"{session.waiting:.1f} s of audio are waiting: too many streams for this machine; try again later",
        )

    def _answer(self, due: list[tuple[int, Query]]) -> None:
        if not due:
            return
        begun = self._clock()
        answers = self._hypotheses([query for _, query in due])
        spent = max(self._clock() - begun, 0.0) / len(due)
        for (number, _), answer in zip(due, answers, strict=True):
            session = self._sessions[number]
            session.charge(spent)
            try:
                if isinstance(answer, Exception):
                    raise answer
                session.accept(answer)
            except Exception as error:  # noqa: BLE001 - as in `_advance`
                session.end(*failure(error))

    def _hypotheses(self, queries: Sequence[Query]) -> list[Hypothesis | Exception]:
        """The answers; where a batch fails, each alone, so that a failure is that of its stream."""
        try:
            return [*self.model.answer(queries)]
        except Exception as error:  # noqa: BLE001 - as in `_advance`
            if len(queries) == 1:
                return [error]
            return [answer for query in queries for answer in self._hypotheses([query])]

    def _session(self, number: int) -> StreamSession:
        if number not in self._sessions:
            raise LinnetError(f"stream {number} has ended: open another one")
        return self._sessions[number]


def measure_capacity(model: StreamingModel, options: StreamOptions, clock: Callable[[], float]) -> int:
    """Measure how many streams with these options the model serves in time, at least 1.

    The cost of a stream is that of a full window of fast speech. The audio is faint noise, but as many tokens are final
    or decoded as such speech has: a word is decoded again until it is final, as long as policy `commit` may take.
    """
    timing, noise = options.timing(model.timing), np.random.default_rng(0)

    def add_audio(seconds: float) -> None:
        samples = noise.standard_normal(round(seconds * SAMPLE_RATE)) * 1e-3
        model.add_audio(memory, samples.astype(np.float32))

    memory = model.begin(language=options.language or (model.languages[0] if model.languages else None))
    window = min(options.window, model.room(memory))
    new = min(timing.step, window / (2 * LOOKS))  # seconds of audio before each decode
    fresh = math.ceil(FAST * timing.step)
    tail = math.ceil(FAST * (timing.delay + timing.patience)) + fresh
    add_audio(window - LOOKS * new)
    said = round(FAST * window)
    (heard,) = model.answer([Query(memory, (), length=said)])  # also warms up
    final, activity = heard.tokens[: max(said - tail, 0)], LiveActivity()
    begun = clock()
    for _ in range(LOOKS):
        for _ in range(round(timing.step / SECONDS)):
            activity.push(np.zeros(FRAME, np.float32))
        add_audio(new)
        (heard,) = model.answer([Query(memory, final, length=tail)])
        final += heard.tokens[:fresh]
    cost = (clock() - begun) / LOOKS
    return max(1, int(USABLE * timing.step / max(cost, 1e-6)))
