"""What a causal model has not heard yet, because its block is open, counts as not heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest

from linnet.alignment.words import TimedWord
from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.streaming.events import Final
from linnet.streaming.options import CommitTiming, StreamOptions
from linnet.streaming.policies import build_policy
from linnet.streaming.protocol import Hypothesis, Query
from linnet.streaming.segment import Segment
from linnet.streaming.session import StreamSession
from tests.support.amplitude_speech import LATENT, AmplitudeModel, LoudIsSpeech, spoken, text

WORDS = (
    TimedWord(" one", 0.0, 0.2, 0.5, interpolated=False, indices=(0,)),
    TimedWord(" two", 0.2, 0.4, 0.5, interpolated=False, indices=(1,)),
)


class Deaf:
    """A model that is not asked."""

    def add_audio(self, memory: Any, samples: np.ndarray) -> None:
        """Take samples."""

    def encoded(self, memory: Any) -> float:
        return 0.0


class InBlocks(AmplitudeModel):
    """A model that hears whole blocks only, unless a query is final, and writes a word only after its end."""

    carries = False

    def __init__(self, block: float) -> None:
        super().__init__()
        self.block = block
        self.timing = CommitTiming(delay=0.0, step=block, patience=0.0, ends_after_words=True)
        self.decodes: list[tuple[float, float]] = []  # seconds of a segment that were encoded, and those received

    def encoded(self, memory: list[Samples]) -> float:
        return int(super().encoded(memory) / self.block + 1e-6) * self.block

    def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        answers = []
        for query in queries:
            received, heard = super().encoded(query.memory), self.encoded(query.memory)
            samples = np.concatenate(query.memory)
            if not query.final:
                self.decodes.append((heard, received))
                samples = samples[: round(heard * SAMPLE_RATE)]
            (found,) = super().answer([replace(query, memory=[samples])])
            cut = not query.final and any(token > LATENT for token in found.tokens)
            kept = slice(0, len(found.tokens) - cut)
            known = {"tokens": found.tokens[kept], "token_logprobs": found.token_logprobs[kept]}
            answers.append(replace(found, **known, words=found.words[kept], until=len(samples) / SAMPLE_RATE))
        return answers


def hypothesis(until: float | None) -> Hypothesis:
    return Hypothesis((7, 8), (-0.7, -0.7), WORDS, ended=True, until=until)


def segment(*echo: str) -> Segment:
    policy, model = build_policy(StreamOptions(), CommitTiming(delay=0.0, patience=0.0)), cast("Any", Deaf())
    return Segment(0, model, policy, None, 10.0, echo=echo)


def look(one: Segment, seconds: float, until: float | None, silence: float = 0.0) -> int:
    """How many words are final after so much more audio."""
    one.add_audio(np.zeros(round(seconds * 16000), np.float32))
    one.query(final=False)
    return one.take(hypothesis(until), silence).final


@pytest.mark.parametrize(
    ("echo", "kept"),
    [
        ((), " one two"),
        (("one",), " two"),
        (("two",), " one two"),
        (("zero", "one"), " two"),
        (("one", "two"), ""),
        (("one", "three"), " one two"),
    ],
)
def test_words_before_a_cut_that_are_heard_again_behind_it_are_left_out(echo, kept):
    one = segment(*echo)
    look(one, 0.9, 0.9)
    assert one.shown == kept
    assert "".join(word.text for word in one.commit(2)) == kept
    assert one.committed == (7, 8)
    look(one, 0.3, 1.2)
    assert "".join(word.text for word in one.commit(2)) == " one two"  # said twice
    assert one.text == kept + " one two"


def test_a_word_that_comes_later_is_no_echo():
    one = segment("one")
    later = tuple(replace(word, start=word.start + 0.4, end=word.end + 0.4) for word in WORDS)
    one.add_audio(np.zeros(16000, np.float32))
    one.take(replace(hypothesis(None), words=later), 0.0)
    assert one.shown == " one two"


def test_the_last_words_before_a_cut():
    one = segment()
    look(one, 0.9, 0.9)
    one.commit(2)
    assert [one.last_words(cut) for cut in (10.4, 10.6, 10.8)] == [("one", "two"), ("two",), ()]


def test_the_same_block_heard_twice_is_no_agreement():
    one = segment()
    assert look(one, 0.7, 0.6) == 0
    assert look(one, 0.4, 0.6) == 0
    assert look(one, 0.1, 1.1) == 1  # the last word may be cut
    whole = segment()
    assert look(whole, 0.7, None) == 0
    assert look(whole, 0.4, None) == 1


@pytest.mark.parametrize("block", [0.24, 0.5, 1.0])
def test_each_block_is_decoded_when_it_is_complete(block):
    model, words = InBlocks(block), list(range(1, 29))
    session = StreamSession(model, activity=LoudIsSpeech())
    sound = spoken(words, [3] * len(words))
    events = [*session.start(), *session.push(sound), *session.finish()]
    assert "".join(event.text for event in events if isinstance(event, Final)) == text(words)
    assert all(received - heard < FRAME / SAMPLE_RATE for heard, received in model.decodes[1:])
    steps = [later - before for (before, _), (later, _) in pairwise(model.decodes)]
    assert len(steps) > 8
    assert steps == pytest.approx([block] * len(steps))


def test_what_a_block_left_open_is_decoded_at_the_end():
    model = InBlocks(0.64)
    sound = spoken([1, 2], [3, 3])
    for end in range(SAMPLE_RATE, len(sound) - 5 * FRAME, FRAME):
        session = StreamSession(model, activity=LoudIsSpeech())
        events = [*session.push(sound[:end]), *session.finish()]
        heard = "".join(event.text for event in events if isinstance(event, Final))
        words = [int(word[1:]) % LATENT for word in heard.split()]
        assert words == [1, 2][: 1 + (end > 26 * FRAME)], end


def test_a_pause_that_was_not_heard_is_no_pause():
    one = segment()
    assert look(one, 0.9, 0.4, silence=0.5) == 0
    assert look(one, 0.3, 1.2, silence=0.8) == 2
