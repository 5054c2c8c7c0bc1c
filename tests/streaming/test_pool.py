"""Several streams together are what they are alone, and no more are taken than can be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import LinnetError, OptionError
from linnet.streaming import session
from linnet.streaming.events import Bye, Error, Event, Final
from linnet.streaming.events import Warning as StreamWarning
from linnet.streaming.options import StreamOptions
from linnet.streaming.pool import PoolFull, SessionPool, measure_capacity
from linnet.streaming.protocol import Hypothesis, Query
from linnet.streaming.session import StreamSession
from tests.support.amplitude_speech import AmplitudeModel, LoudIsSpeech, spoken, text

SPEECHES = [[1, 2, 3, 4, 5], [7, 8], [50, 60, 50, 60, 50, 60], [9]]
WORDS = list(range(1, 25))


@pytest.fixture(autouse=True)
def loud_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = session.Intake
    monkeypatch.setattr(session, "Intake", lambda activity: plain(activity or LoudIsSpeech()))


def sounds() -> list[Samples]:
    return [spoken(words, [4 + 20 * (place == 1) for place in range(len(words))]) for words in SPEECHES]


def alone(sound: Samples) -> list[dict[str, Any]]:
    one = StreamSession(AmplitudeModel())
    return plain([*one.start(), *one.push(sound), *one.finish()])


def plain(events: list[Event]) -> list[dict[str, Any]]:
    return [{**event.to_dict(), "lag": 0, "compute": 0} for event in events]


def serve(pool: SessionPool, told: dict[int, list[Event]]) -> None:
    while events := pool.step():
        for number, own in events.items():
            told.setdefault(number, []).extend(own)


def test_together_they_are_what_they_are_alone_and_share_batches() -> None:
    model = AmplitudeModel()
    pool = SessionPool(model, capacity=4)
    numbers = [pool.admit(StreamOptions()) for _ in SPEECHES]
    told: dict[int, list[Event]] = {}
    made = sounds()
    for at in range(0, max(map(len, made)), SAMPLE_RATE // 5):
        for number, sound in zip(numbers, made, strict=True):
            pool.push(number, sound[at : at + SAMPLE_RATE // 5])
        serve(pool, told)
    for number in numbers:
        pool.finish(number)
    serve(pool, told)
    for number, sound in zip(numbers, made, strict=True):
        assert plain(told[number]) == alone(sound)
    assert max(model.batches) > 1
    assert len(pool) == 0  # all have gone


def test_no_more_are_admitted_than_there_are_places() -> None:
    pool = SessionPool(AmplitudeModel(), capacity=2)
    first, _ = pool.admit(), pool.admit()
    with pytest.raises(PoolFull, match="all 2 streams") as full:
        pool.admit()
    assert full.value.retry_after > 0
    assert isinstance(full.value, LinnetError)
    pool.leave(first)
    pool.admit()
    with pytest.raises(OptionError, match="policy"):
        pool.admit(StreamOptions(policy="never"))


class Costly(AmplitudeModel):
    """A model that takes time, by a clock of its own: for a second of audio, and for a token that is decoded."""

    def __init__(self, audio: float, token: float) -> None:
        super().__init__()
        self.audio, self.token = audio, token
        self.now = 0.0
        self.asked: list[tuple[float, int, int]] = []  # seconds of audio, final tokens, tokens decoded

    def clock(self) -> float:
        return self.now

    def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        answers = [self._spend(query, found) for query, found in zip(queries, super().answer(queries), strict=True)]
        self.batches[-1] = len(queries)
        return answers

    def _spend(self, query: Query, found: Hypothesis) -> Hypothesis:
        seconds, more = sum(map(len, query.memory)) / SAMPLE_RATE, max(query.length - len(found.tokens), 0)
        tokens = (*found.tokens, *[1] * more)[: query.length or None]
        self.asked.append((seconds, len(query.committed), len(tokens)))
        self.now += seconds * self.audio + len(tokens) * self.token
        return replace(found, tokens=tokens, token_logprobs=(-0.05,) * len(tokens))


def test_capacity_is_measured_on_full_windows_of_fast_speech() -> None:
    model = Costly(0.004, 0.004)
    found = measure_capacity(model, StreamOptions(step=0.4), model.clock)
    tail = 11  # tokens of 1.7 s: the step, the delay and the patience
    assert model.asked[0][2] == 90  # of 15 s
    assert [tokens for _, _, tokens in model.asked[1:]] == [tail] * 4
    assert [final for _, final, _ in model.asked[1:]] == [79, 82, 85, 88]
    assert [seconds for seconds, _, _ in model.asked[1:]] == pytest.approx([13.8, 14.2, 14.6, 15.0])
    assert found == int(0.7 * 0.4 / (14.4 * 0.004 + tail * 0.004)) == 2
    for cost in (0.0, 9.0):
        extreme = Costly(0.0, cost)
        assert (measure_capacity(extreme, StreamOptions(), extreme.clock) == 1) == (cost > 0)


def behind(model: Costly, sessions: int) -> float:
    """The 95th percentile of the seconds from the arrival of audio until it was processed, on one simulated core."""
    pool, size = SessionPool(model, capacity=sessions, most_waiting=99.0, clock=model.clock), SAMPLE_RATE // 10
    sound = np.tile(spoken(WORDS, [1] * len(WORDS)), 2)
    numbers, given, done = [pool.admit() for _ in range(sessions)], 0, 0.0
    found: list[float] = []
    while given < len(sound) // size:
        now = max(done, (given + 1) / 10)
        arrived = min(int(now * 10 + 1e-6), len(sound) // size)
        for number in numbers:
            pool.push(number, sound[given * size : arrived * size])
        begun = model.now
        serve(pool, {})
        done = now + model.now - begun
        found += [done - (place + 1) / 10 for place in range(given, arrived)]
        given = arrived
    return float(np.quantile(found, 0.95))


def test_as_many_as_are_admitted_are_served_in_time() -> None:
    model = Costly(0.004, 0.006)
    capacity = measure_capacity(model, StreamOptions(), model.clock)
    assert capacity < 8  # what faint noise, for which no token is decoded, would suggest
    assert behind(model, capacity) < 1.0
    assert behind(model, 8) > 1.0


def test_who_falls_behind_is_looked_at_more_rarely_and_told() -> None:
    sound = spoken(WORDS, [2] * len(WORDS))
    brisk, late = AmplitudeModel(), AmplitudeModel()
    told: dict[str, list[Event]] = {}
    for name, model, size in (("brisk", brisk, SAMPLE_RATE // 5), ("late", late, 2 * SAMPLE_RATE)):
        pool = SessionPool(model, capacity=1)
        number, own = pool.admit(), {}
        for at in range(0, len(sound), size):
            pool.push(number, sound[at : at + size])
            serve(pool, own)
        pool.finish(number)
        serve(pool, own)
        told[name] = own[number]
    assert len(late.batches) < len(brisk.batches)
    assert "lag" in [event.code for event in told["late"] if isinstance(event, StreamWarning)]
    assert not [event for event in told["brisk"] if isinstance(event, StreamWarning)]
    for events in told.values():
        assert "".join(event.text for event in events if isinstance(event, Final)) == text(WORDS)


def test_too_much_waiting_audio_ends_a_stream_and_not_its_neighbors() -> None:
    pool = SessionPool(AmplitudeModel(), capacity=2)
    drowned, fine = pool.admit(), pool.admit()
    sound = spoken([1, 2, 3], [4, 4, 4])
    told: dict[int, list[Event]] = {}
    pool.push(drowned, sound)
    pool.push(fine, sound)
    serve(pool, told)
    pool.push(drowned, np.zeros(6 * SAMPLE_RATE, np.float32))
    serve(pool, told)
    pool.finish(fine)
    serve(pool, told)
    (error,) = [event for event in told[drowned] if isinstance(event, Error)]
    assert error.code == "overload"
    assert isinstance(told[drowned][-1], Bye)
    finals = "".join(event.text for event in told[drowned] if isinstance(event, Final))
    assert text([1, 2, 3]).startswith(finals)
    assert finals
    assert "".join(event.text for event in told[fine] if isinstance(event, Final)) == text([1, 2, 3])
    with pytest.raises(LinnetError, match="has ended"):
        pool.push(drowned, sound)


def test_a_model_that_fails_ends_the_streams_that_asked() -> None:
    class Failing(AmplitudeModel):
        def answer(self, queries: Any) -> list[Hypothesis]:
            raise LinnetError("out of memory")

    pool = SessionPool(Failing(), capacity=2)
    asking, silent = pool.admit(), pool.admit()
    pool.push(asking, spoken([1, 2], [4, 4]))
    pool.push(silent, np.zeros(SAMPLE_RATE, np.float32))
    told: dict[int, list[Event]] = {}
    serve(pool, told)
    assert [type(event) for event in told[asking]][-3:] == [Error, type(told[asking][-2]), Bye]
    pool.finish(silent)
    serve(pool, told)
    assert not any(isinstance(event, Error) for event in told[silent])


@pytest.mark.parametrize("place", ["answer", "add_audio", "accept"])
def test_a_failure_ends_the_stream_that_it_is_of_and_no_other(place: str) -> None:
    """Of any kind: an engine raises RuntimeError."""

    class Choking(AmplitudeModel):
        def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
            if place == "answer" and any(self.has_nine(query.memory) for query in queries):
                raise RuntimeError("nine")
            found = super().answer(queries)
            if place == "accept":  # an answer that no session can take
                bad = replace(found[0], token_logprobs=None)
                found = [bad if self.has_nine(q.memory) else one for q, one in zip(queries, found, strict=True)]
            return found

        def add_audio(self, memory: list[Samples], samples: Samples) -> None:
            super().add_audio(memory, samples)
            if place == "add_audio" and self.has_nine(memory):
                raise RuntimeError("nine")

        @staticmethod
        def has_nine(memory: list[Samples]) -> bool:
            return bool(np.isclose(np.concatenate(memory), 0.09).any())

    pool = SessionPool(Choking(), capacity=2)
    choking, fine = pool.admit(), pool.admit()
    told: dict[int, list[Event]] = {}
    sounds = {choking: spoken([1, 9, 2], [4, 4, 4]), fine: spoken([1, 2, 3], [4, 4, 4])}
    for at in range(0, len(sounds[fine]), SAMPLE_RATE // 5):
        for number, sound in sounds.items():
            if not any(isinstance(event, Bye) for event in told.get(number, [])):
                pool.push(number, sound[at : at + SAMPLE_RATE // 5])
        serve(pool, told)
    pool.finish(fine)
    serve(pool, told)
    (error,) = [event for event in told[choking] if isinstance(event, Error)]
    assert error.code == "internal"
    assert isinstance(told[choking][-1], Bye)
    assert plain(told[fine]) == alone(sounds[fine])
    assert len(pool) == 0
