"""The simulated clock: arrival, waiting and work; what is kept is enough to make all figures again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio.types import SAMPLE_RATE
from linnet.data.fields import BadRow
from linnet.errors import AudioError, OptionError
from linnet.evaluation.streams.simulate import play
from linnet.evaluation.streams.trace import StreamTrace
from linnet.scoring.latency import DisplayUpdate, SpokenWord
from tests.support.fake_live import FakeStream, FakeTimer

WORDS = ("one", "two", "three")


def seconds(count: float) -> np.ndarray:
    return np.zeros(round(count * SAMPLE_RATE), np.float32)


def test_words_come_with_the_chunk_that_completes_their_second() -> None:
    timer = FakeTimer()
    played = play(FakeStream(WORDS, timer, cost=0.25), seconds(3.2), chunk=0.5, timer=timer)
    assert played.text == "one two three"
    assert played.trace.shown == [
        DisplayUpdate(1.0, 1.25, (), ("one",)),
        DisplayUpdate(2.0, 2.25, ("one",), ("two",)),
        DisplayUpdate(3.0, 3.25, ("two",), ("three",)),
        DisplayUpdate(
            3.2, pytest.approx(3.75), ("three",), ()
        ),  # the last chunk, then the end: 3.2 + 0.25 (+ 0.05) + 0.25
    ]
    assert played.trace.points[-2:] == [(3.2, pytest.approx(3.5)), (3.2, pytest.approx(3.75))]
    assert played.trace.counters == {"decodes": 7}


def test_late_work_makes_what_follows_late_and_the_stream_is_told() -> None:
    timer = FakeTimer()
    stream = FakeStream(WORDS, timer, cost=0.75)
    trace = play(stream, seconds(2.0), chunk=0.5, timer=timer).trace
    assert stream.behind == [0.0, 0.25, 0.5, 0.75]  # before each chunk's own work
    assert trace.behind == [0.75, 1.0, 1.25, 1.5, 2.25]


@settings(deadline=None)
@given(st.lists(st.floats(0, 2), min_size=1, max_size=20), st.floats(0.05, 1.0))
def test_done_times_as_the_slow_twin_has_them(work: list[float], chunk: float) -> None:
    duration = chunk * (len(work) - 1) - chunk / 3 if len(work) > 1 else 0.0
    trace = StreamTrace(duration, chunk, tuple(work), ())
    for number, (arrival, done) in enumerate(trace.points):
        assert arrival == min((number + 1) * chunk, duration)
        # the work on chunk k can begin at its arrival; the latest of all such starts with all work since then
        starts = [min((k + 1) * chunk, duration) + sum(work[k : number + 1]) for k in range(number + 1)]
        assert done == pytest.approx(max(starts))


@pytest.mark.parametrize("chunk", [1 / SAMPLE_RATE, 0.03, 30.0])
def test_any_chunk_carries_all_the_audio(chunk: float) -> None:
    stream = FakeStream(WORDS)
    trace = play(stream, seconds(0.25), chunk=chunk).trace
    assert sum(stream.pushed) == pytest.approx(0.25)
    assert len(trace.compute) == len(stream.pushed) + 1
    assert trace.points[-1][0] == 0.25


def test_a_recording_without_samples_is_ended() -> None:
    played = play(FakeStream(WORDS), seconds(0.0))
    assert (played.text, played.trace.duration, len(played.trace.compute)) == ("", 0.0, 1)


@pytest.mark.parametrize("chunk", [0.0, -1.0, 1e-6])
def test_a_chunk_without_length_is_refused(chunk: float) -> None:
    with pytest.raises(OptionError, match="chunk must be a positive number of seconds"):
        play(FakeStream(WORDS), seconds(1.0), chunk=chunk)


def test_a_stream_that_fails_raises() -> None:
    with pytest.raises(AudioError, match="no more"):
        play(FakeStream(WORDS, fails_at=1), seconds(2.0))


def test_a_trace_is_read_back_from_json() -> None:
    said = [SpokenWord("one", 0.1, 0.9), SpokenWord("too", 1.0, 1.5, sure=False)]
    timer = FakeTimer()
    trace = play(FakeStream(WORDS, timer, cost=0.125), seconds(2.5), reference=said, timer=timer).trace
    assert StreamTrace.from_dict(json.loads(json.dumps(trace.to_dict()))) == trace


@pytest.mark.parametrize(
    "damage",
    [
        {"duration": None},
        {"compute": 12},
        {"compute": [0.1, "x"]},
        {"changes": [[0, "one", []]]},
        {"changes": [[9, ["one"], []]]},
        {"changes": [[0, [1], []]]},
        {"reference": [["one", 0.1]]},
        {"counters": 3},
    ],
)
def test_a_damaged_trace_is_refused(damage: dict[str, object]) -> None:
    good = {"duration": 1.0, "chunk": 0.5, "compute": [0.1, 0.1], "changes": [], "reference": None, "counters": {}}
    StreamTrace.from_dict(good)
    with pytest.raises(BadRow, match="its stream"):
        StreamTrace.from_dict({**good, **damage})
