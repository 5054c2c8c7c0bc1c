"""Loops are cut where they begin, and doubtful words in little speech are no words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.alignment.words import TimedWord
from linnet.streaming.guards import cut_loop, is_credible
from linnet.streaming.protocol import Hypothesis


def hypothesis(tokens: list[int], **more: float) -> Hypothesis:
    words = tuple(TimedWord(f" {token}", 0.0, 0.0, 0.9, False, (place,)) for place, token in enumerate(tokens))
    return Hypothesis(tuple(tokens), (-0.1,) * len(tokens), words, ended=True, **more)  # type: ignore[arg-type]


def test_of_a_loop_one_round_is_left() -> None:
    cut = cut_loop([], hypothesis([7, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]))
    assert cut is not None
    assert cut.tokens == (7, 1, 2, 3)
    assert [word.text for word in cut.words] == [" 7", " 1", " 2", " 3"]
    assert len(cut.token_logprobs) == 4
    assert not cut.ended


def test_rounds_that_are_final_count() -> None:
    cut = cut_loop([1, 2, 3, 1, 2, 3], hypothesis([1, 2, 3, 1, 2, 3]))
    assert cut is not None
    assert cut.tokens == ()


def test_a_digit_may_be_said_four_times() -> None:
    assert cut_loop([], hypothesis([5, 5, 5, 5])) is None
    assert cut_loop([], hypothesis([5] * 8)) is not None


@given(st.lists(st.integers(1, 10**6), unique=True, max_size=40))
def test_what_never_repeats_is_no_loop(tokens: list[int]) -> None:
    assert cut_loop([], hypothesis(tokens)) is None


@pytest.mark.parametrize(
    ("credible", "logprob", "silence", "speech", "ratio"),
    [
        (True, -0.2, 0.1, 0.3, 1.0),
        (True, -0.2, 0.9, 2.0, 1.0),  # sure words in much speech, whatever the model says of silence
        (False, -0.2, 0.9, 0.3, 1.0),
        (False, -1.1, 0.7, 5.0, 1.0),  # the model's own rule
        (True, -1.1, 0.1, 5.0, 1.0),
        (False, -1.3, 0.0, 0.5, 1.0),  # hardly speech, improbable words
        (False, -0.8, 0.4, 0.5, 1.0),
        (True, -0.8, 0.1, 0.5, 1.0),
        (False, -0.1, 0.0, 9.0, 3.0),  # repeats itself
    ],
)
def test_two_witnesses_must_agree(credible: bool, logprob: float, silence: float, speech: float, ratio: float) -> None:
    heard = hypothesis([1], no_speech_prob=silence, compression_ratio=ratio)
    assert is_credible(heard, logprob, speech) is credible
