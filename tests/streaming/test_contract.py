"""The contract of events, whatever the words, the chunks, the flushes and the policy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import OptionError
from linnet.streaming.events import Bye, Event, Final, Flushed, Partial, Ready, Stats, Vad
from linnet.streaming.events import Warning as StreamWarning
from linnet.streaming.options import StreamOptions
from linnet.streaming.session import StreamSession
from tests.support.amplitude_speech import LATENT, AmplitudeModel, LoudIsSpeech, spoken, text

POLICIES = ("commit", "hold-1", "hold-2", "local-agreement-2", "local-agreement-3", "emit-all")
speech = st.lists(st.tuples(st.integers(1, 90), st.sampled_from([1, 2, 3, 8, 30, 90])), min_size=1, max_size=8)
cuts = st.lists(st.integers(1, 40_000), min_size=1, max_size=30).map(lambda sizes: [*sizes, 9000])  # not all tiny


def run(
    samples: Samples,
    chunks: Sequence[int],
    *,
    policy: str = "commit",
    flushes: Sequence[int] = (),
    model: AmplitudeModel | None = None,
) -> list[Event]:
    """All events of a stream in these chunks, over and over; a flush after the chunks of these numbers."""
    options = StreamOptions(policy=policy, delay=0.2)
    session = StreamSession(model or AmplitudeModel(), options, activity=LoudIsSpeech())
    events, at, count = session.start(), 0, 0
    while at < len(samples):
        size = chunks[count % len(chunks)]
        events += session.push(samples[at : at + size])
        at, count = at + size, count + 1
        if count in flushes:
            events += session.flush()
    return [*events, *session.finish()]


def distinct(pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Words and gaps; neighbors differ, since two equal amplitudes that touch would be one."""
    words = [word + (place % 2) * 100 for place, (word, _) in enumerate(pairs)]
    return words, [gap for _, gap in pairs]


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=6, deadline=None)
@given(pairs=speech, chunks=cuts)
def test_every_word_is_final_once_and_in_order(policy: str, pairs: list[tuple[int, int]], chunks: list[int]) -> None:
    words, gaps = distinct(pairs)
    events = run(samples := spoken(words, gaps), chunks, policy=policy)
    finals = [event for event in events if isinstance(event, Final)]
    if not policy.startswith("hold"):  # which takes a word that is cut for whole
        assert "".join(final.text for final in finals) == text(words)  # (a), (b)
    placed = [word for final in finals for word in final.words]
    assert all(one.start <= one.end <= two.start for one, two in pairwise(placed))
    assert [event.seq for event in events] == list(range(len(events)))  # (c)
    assert isinstance(events[0], Ready)
    assert isinstance(events[-1], Bye)
    assert isinstance(events[-2], Stats)
    assert sum(isinstance(event, Bye) for event in events) == 1  # (d)
    assert events[-1].time == len(samples) / SAMPLE_RATE  # (e)
    assert events[-1].words == len(placed) == events[-2].finals
    assert all(one.time <= two.time for one, two in pairwise(events))
    turns = [event for event in events if isinstance(event, Vad)]
    assert all(one.at <= two.at and one.speaking != two.speaking for one, two in pairwise(turns))
    lasts = [final.segment for final in finals if final.last]
    assert lasts == sorted(set(lasts))
    assert {final.segment for final in finals} == set(lasts)


@pytest.mark.parametrize("policy", ["commit", "local-agreement-2", "emit-all"])
@settings(max_examples=6, deadline=None)
@given(pairs=speech, one=cuts, other=cuts)
def test_chunks_change_nothing(policy: str, pairs: list[tuple[int, int]], one: list[int], other: list[int]) -> None:
    words, gaps = distinct(pairs)
    samples = spoken(words, gaps)

    def told(chunks: list[int]) -> list[dict[str, object]]:
        events = [event.to_dict() for event in run(samples, chunks, policy=policy)]
        return [{**event, "lag": 0, "compute": 0} for event in events]

    assert told(one) == told(other)


@settings(max_examples=12, deadline=None)
@given(pairs=speech, chunks=cuts, flushes=st.sets(st.integers(1, 30), max_size=6))
def test_a_flush_is_answered_once_and_makes_all_words_before_it_final(
    pairs: list[tuple[int, int]], chunks: list[int], flushes: set[int]
) -> None:
    words, gaps = distinct(pairs)
    samples = spoken(words, gaps)
    options = StreamOptions()
    session = StreamSession(AmplitudeModel(), options, activity=LoudIsSpeech())
    ends = np.cumsum([(gap + 10) * FRAME for gap in gaps]) + 10 * FRAME
    seen, at, count = session.start(), 0, 0
    while at < len(samples):
        size = chunks[count % len(chunks)]
        seen += session.push(samples[at : at + size])
        at, count = at + size, count + 1
        if count in flushes:
            events = session.flush()
            assert [type(event) for event in events].count(Flushed) == 1  # (d)
            assert isinstance(events[-1], Flushed)
            seen += events
            whole = int((ends + FRAME <= at).sum())
            final = sum(len(event.words) for event in seen if isinstance(event, Final))
            assert final >= whole
    session.finish()


@settings(max_examples=12, deadline=None)
@given(pairs=speech, chunks=cuts)
def test_a_partial_stands_behind_what_is_final(pairs: list[tuple[int, int]], chunks: list[int]) -> None:
    words, gaps = distinct(pairs)
    final, partial = "", ""
    for event in run(spoken(words, gaps), chunks):
        if isinstance(event, Final):
            final += event.text
        if isinstance(event, Partial):
            partial = event.text
            shown = final + partial  # (f): of the partials before it none is needed
            assert text(words).startswith(shown) or text(words).startswith(shown.rpartition(" ")[0])
            assert "".join(f" {word.word}" for word in event.words) == partial
    assert final == text(words)
    assert partial == ""


def test_a_stream_of_minutes_without_a_pause_keeps_its_window_short() -> None:
    words = [1 + place % 90 + 100 * (place % 2) for place in range(120)]
    samples = spoken(words, [2] * len(words))
    for model in (AmplitudeModel(), AmplitudeModel(forgets=False)):
        events = run(samples, [1600], model=model)
        assert model.longest < 29.0
        finals = [event for event in events if isinstance(event, Final)]
        assert "".join(final.text for final in finals) == text(words)
        assert len({final.segment for final in finals}) == (1 if model.forgets else 1 + len(samples) // (20 * 16000))


def test_silence_is_no_segment_and_asks_the_model_nothing() -> None:
    model = AmplitudeModel()
    events = run(np.zeros(20 * SAMPLE_RATE, np.float32), [1000], model=model)
    assert [type(event) for event in events] == [Ready, Stats, Bye]
    assert model.batches == []


def test_orders_are_carried_out_in_turn() -> None:
    session = StreamSession(AmplitudeModel(), activity=LoudIsSpeech())
    session.take(spoken([1, 2], [4, 4]))
    for order in ("flush", "flush", "stop"):
        session.order(order)
    for call in (lambda: session.order("flush"), lambda: session.take(np.zeros(9, np.float32))):
        with pytest.raises(OptionError, match="this stream has ended"):
            call()
    while (query := session.advance()) is not None:
        session.accept(*session.model.answer([query]))
    events = session.events()
    assert [type(event) for event in events[-4:]] == [Flushed, Flushed, Stats, Bye]
    assert "".join(event.text for event in events if isinstance(event, Final)) == text([1, 2])


def test_a_prompt_that_a_model_ignores_is_said() -> None:
    class Promptless(AmplitudeModel):
        def prompt(self, text: str) -> tuple[int, ...]:
            return ()

    for model, said in ((Promptless(), ["prompt"]), (AmplitudeModel(), [])):
        session = StreamSession(model, StreamOptions(prompt="names"), activity=LoudIsSpeech())
        events = [*session.start(), *session.finish()]
        assert [event.code for event in events if isinstance(event, StreamWarning)] == said


def test_an_empty_stream_is_a_stream() -> None:
    session = StreamSession(AmplitudeModel(), activity=LoudIsSpeech())
    assert [type(event) for event in session.start() + session.finish()] == [Ready, Stats, Bye]


@pytest.mark.parametrize("pause", range(3, 14, 2))
def test_a_full_window_is_not_cut_before_words_that_are_final(pause: int) -> None:
    words = list(range(1, 31))
    samples = spoken(words, [pause if place % 10 == 3 else 0 for place in range(30)])  # speech between pauses
    model = AmplitudeModel(window=6.0, forgets=False)  # full some words after a pause, which are final by then
    finals = [event for event in run(samples, [1600], model=model) if isinstance(event, Final)]
    numbers = [int(word.word.strip(" w")) for final in finals for word in final.words]
    whole = [number for number in numbers if number < LATENT]  # others are words that the cut divides
    assert whole == sorted(set(whole))
    assert len(whole) > 25
    assert any(final.reason == "cap" for final in finals)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_segment_ends_when_its_text_is_full(forgets: bool) -> None:
    words = [1 + place % 90 + 100 * (place % 2) for place in range(60)]
    samples = spoken(words, [1] * len(words))
    finals, segments = {}, {}
    for most in (5, 224):
        events = run(samples, [1600], model=(model := AmplitudeModel(forgets=forgets, most_tokens=most)))
        assert model.most_committed <= most + 3, "a decode adds few words"
        finals[most] = "".join(event.text for event in events if isinstance(event, Final))
        segments[most] = len({event.segment for event in events if isinstance(event, Final)})
    assert finals[5] == finals[224] == text(words)
    assert segments[5] >= 9 > segments[224]
