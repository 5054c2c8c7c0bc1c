"""The asynchronous front door: sources and consumers of every temper."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import LinnetError, OptionError
from linnet.streaming import live, outbox, session
from linnet.streaming.events import Bye, Error, Event, Final, Flushed, Partial, Ready
from linnet.streaming.events import Warning as StreamWarning
from linnet.streaming.live import Source, stream
from linnet.streaming.protocol import Hypothesis
from tests.support.amplitude_speech import AmplitudeModel, LoudIsSpeech, spoken, text

WORDS = [3, 57, 9, 52, 5]
SOUND = spoken(WORDS, [4, 4, 40, 4, 4])


@pytest.fixture(autouse=True)
def loud_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amplitudes are no speech to the network."""
    plain = session.Intake

    def intake(activity: Any = None) -> Any:
        return plain(activity or LoudIsSpeech())

    monkeypatch.setattr(session, "Intake", intake)


def pieces(samples: Samples, size: int = 3000) -> Iterator[Samples]:
    for at in range(0, len(samples), size):
        yield samples[at : at + size]


def collect(chunks: Any, model: AmplitudeModel | None = None, **more: Any) -> list[Event]:
    async def run() -> list[Event]:
        return [event async for event in stream(model or AmplitudeModel(), chunks, **more)]

    before = threading.active_count()
    events = asyncio.run(run())
    assert threading.active_count() <= before
    assert isinstance(events[0], Ready)
    assert isinstance(events[-1], Bye)
    return events


def final(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Final))


def test_lists_generators_and_asynchronous_generators_give_the_same() -> None:
    async def coming() -> AsyncIterator[Samples]:
        for piece in pieces(SOUND):
            await asyncio.sleep(0)
            yield piece

    for chunks in (list(pieces(SOUND)), pieces(SOUND), coming(), [SOUND], [(SOUND * 32768).astype(np.int16)]):
        events = collect(chunks)
        assert final(events) == text(WORDS)
        assert events[-1].time == len(SOUND) / SAMPLE_RATE


def test_other_rates_are_resampled() -> None:
    events = collect([np.repeat(SOUND, 3)], sample_rate=48_000)
    assert events[-1].time == pytest.approx(len(SOUND) / SAMPLE_RATE, abs=0.01)
    assert final(events).count(" w") >= len(WORDS)


def test_none_is_a_flush() -> None:
    half = (10 + 4 + 10 + 3) * FRAME  # in the pause behind the first word
    events = collect([SOUND[:half], None, SOUND[half:]])
    flushed = next(place for place, event in enumerate(events) if isinstance(event, Flushed))
    assert final(events[:flushed]) == text(WORDS[:1])
    assert final(events) == text(WORDS)


def test_a_source_that_fails_ends_the_stream_and_keeps_what_was_final() -> None:
    def breaking() -> Iterator[Samples]:
        yield SOUND
        raise OSError("cable")

    events = collect(breaking())
    assert [event.code for event in events if isinstance(event, Error)] == ["source"]
    assert "cable" in next(event.message for event in events if isinstance(event, Error))


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_a_source_that_is_interrupted_ends_the_stream(error: type[BaseException]) -> None:
    def breaking() -> Iterator[Samples]:
        yield SOUND
        raise error

    async def coming() -> AsyncIterator[Samples]:
        yield SOUND
        raise asyncio.CancelledError

    for chunks in (breaking(), coming()):
        events = collect(chunks)
        (failure,) = [event for event in events if isinstance(event, Error)]
        assert failure.code == "source"
        assert failure.message.endswith("Error)") or error.__name__ in failure.message
        assert final(events) == text(WORDS)


@pytest.mark.parametrize(
    ("chunks", "hint"),
    [
        ("a.wav", r"not the file 'a.wav': pass \[linnet.audio.load"),
        (SOUND, r"a list, \[samples\]"),
        (b"abcd", "np.frombuffer"),
        (None, "not from NoneType"),
        (5, "not from int"),
    ],
)
def test_what_gives_no_chunks_is_refused_with_a_hint(chunks: Any, hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        collect(chunks)


def test_samples_one_by_one_are_taken_together() -> None:
    chunks = [*(SOUND[at : at + 1] for at in range(8000)), *pieces(SOUND[8000:], 50)]
    events = collect(chunks)
    assert final(events) == text(WORDS)
    assert events[-1].time == len(SOUND) / SAMPLE_RATE


def test_a_source_of_flushes_alone_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_CHUNKS", 5)
    monkeypatch.setattr(outbox, "MOST_EVENTS", 5)
    taken = []

    def flushes() -> Iterator[None]:
        while True:
            taken.append(1)
            yield None

    async def run() -> None:
        events = stream(AmplitudeModel(), flushes())
        await anext(events)
        await asyncio.sleep(0.2)
        assert 1 <= len(taken) < 20
        await events.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.arange(3), "abc", np.array([1e6])])
def test_a_chunk_that_is_no_audio_ends_the_stream_with_the_reason(bad: Any) -> None:
    events = collect([SOUND, bad, SOUND])
    (error,) = [event for event in events if isinstance(event, Error)]
    assert error.code == "samples"
    assert final(events) == text(WORDS)


def test_a_source_that_falls_silent_gets_its_words_and_then_its_end() -> None:
    silent = threading.Event()

    async def run() -> list[Event]:
        async def stalling() -> AsyncIterator[Samples]:
            yield SOUND[: (10 + 4 + 10 + 2) * FRAME]  # the first word, and no pause behind it that would end it
            await asyncio.to_thread(silent.wait, 20)

        source = Source(live=True, pause=0.1, idle=0.6)
        return [event async for event in stream(AmplitudeModel(), stalling(), source=source)]

    try:
        begun = time.monotonic()
        task = run()
        threading.Timer(2.0, silent.set).start()
        events = asyncio.run(task)
    finally:
        silent.set()
    assert time.monotonic() - begun < 15
    assert final(events) == text(WORDS[:1])
    assert [event.reason for event in events if isinstance(event, Final)][-1] == "endpoint"
    (error,) = [event for event in events if isinstance(event, Error)]
    assert error.code == "idle"
    assert isinstance(events[-1], Bye)


class Slow(AmplitudeModel):
    """Takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def answer(self, queries: Any) -> list[Hypothesis]:
        time.sleep(self.seconds)
        return super().answer(queries)


def test_a_source_that_waits_is_held_back_and_nothing_is_lost() -> None:
    taken = []

    def watched() -> Iterator[Samples]:
        for piece in pieces(np.tile(SOUND, 3), SAMPLE_RATE // 4):
            taken.append(len(piece))
            yield piece

    events = collect(watched(), Slow(0.02))
    assert final(events) == text(WORDS * 3)
    assert not any(isinstance(event, Error) for event in events)
    assert sum(taken) == 3 * len(SOUND)


def test_a_live_source_that_a_slow_model_cannot_follow_ends_in_overload() -> None:
    events = collect(pieces(np.tile(SOUND, 9), SAMPLE_RATE), Slow(0.3), live=True)
    (error,) = [event for event in events if isinstance(event, Error)]
    assert error.code == "overload"
    assert [event.code for event in events if isinstance(event, StreamWarning)][:1] in ([], ["lag"])


def test_a_slow_consumer_misses_partials_and_no_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SLOW", 3)
    gate = asyncio.Event()

    async def run() -> list[Event]:
        events = []
        asyncio.get_running_loop().call_later(1.0, gate.set)
        async for event in stream(AmplitudeModel(), [np.tile(SOUND, 2)]):
            events.append(event)
            await gate.wait()  # as long as this, nothing is fetched
        return events

    events = asyncio.run(run())
    assert final(events) == text(WORDS * 2)
    partials, all_partials = (sum(isinstance(one, Partial) for one in some) for some in (events, collect([SOUND] * 2)))
    assert partials < all_partials
    assert [event.code for event in events if isinstance(event, StreamWarning)] == ["queue"]


def test_who_fetches_nothing_at_all_holds_up_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_EVENTS", 5)
    taken = []

    def watched() -> Iterator[Samples]:
        for _ in range(100):
            taken.append(1)
            yield SOUND

    async def run() -> None:
        events = stream(AmplitudeModel(), watched())
        assert isinstance(await anext(events), Ready)
        await asyncio.sleep(0.5)
        assert 1 <= len(taken) < 10
        await events.aclose()

    asyncio.run(run())


def test_a_consumer_that_leaves_ends_the_thread_and_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[Samples]:
        try:
            while True:
                yield SOUND[:16_000]
        finally:
            closed.set()

    async def run() -> None:
        events = stream(AmplitudeModel(), endless())
        async for event in events:
            if isinstance(event, Partial):
                break
        await events.aclose()

    asyncio.run(run())
    assert closed.wait(5)
    assert not [thread for thread in threading.enumerate() if thread.name == "linnet stream"]


def test_a_source_that_blocks_holds_up_nobody_who_leaves() -> None:
    gate = threading.Event()

    def blocking() -> Iterator[Samples]:
        yield SOUND[:16_000]
        gate.wait(60)

    async def run() -> None:
        async for event in stream(AmplitudeModel(), blocking()):
            if isinstance(event, Partial):
                break

    try:
        begun = time.monotonic()
        asyncio.run(run())
        assert time.monotonic() - begun < 20
    finally:
        gate.set()


def test_a_canceled_task_leaves_no_thread_and_closes_its_source() -> None:
    closed = []

    async def endless() -> AsyncIterator[Samples]:
        try:
            while True:
                await asyncio.sleep(0.001)
                yield SOUND[:8000]
        finally:
            closed.append(True)

    async def consume() -> None:
        async for _ in stream(AmplitudeModel(), endless()):
            pass

    async def run() -> None:
        task = asyncio.create_task(consume())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("linnet stream")]

    asyncio.run(run())
    assert closed == [True]


def test_a_stream_within_a_stream() -> None:
    async def run() -> list[str]:
        model, texts = AmplitudeModel(), [""]
        async for outer in stream(model, pieces(SOUND)):
            if not isinstance(outer, Final):
                continue
            texts[0] += outer.text
            texts.append(final([event async for event in stream(model, pieces(SOUND))]))
        return texts

    texts = asyncio.run(run())
    assert len(texts) > 1
    assert set(texts) == {text(WORDS)}


def test_a_model_that_fails_is_an_error_of_the_stream() -> None:
    class Failing(AmplitudeModel):
        def answer(self, queries: Any) -> list[Hypothesis]:
            raise LinnetError("numbers without meaning")

    events = collect([SOUND], Failing())
    (error,) = [event for event in events if isinstance(event, Error)]
    assert (error.code, error.message) == ("model", "numbers without meaning")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dely": 1.0}, "did you mean delay"),
        ({"delay": -1.0}, "delay"),
        ({"delay": "1"}, "delay must be 0 or more, got '1'"),
        ({"policy": None}, "policy None is unknown"),
        ({"language": 5}, "language must be text, got 5"),
        ({"beam_size": 2}, "beam size of its own"),
        ({"xyz": 1}, "policy"),
    ],
)
def test_options_are_checked_before_the_first_event(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        collect([SOUND], **options)
