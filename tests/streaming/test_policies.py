"""What each policy makes final, told by hand."""

from __future__ import annotations

import pytest

from linnet.alignment.words import TimedWord
from linnet.errors import OptionError
from linnet.streaming.options import CommitTiming, Endpointing, StreamOptions
from linnet.streaming.policies import Decision, Observation, Policy, build_policy


def words(text: str, *, sure: str = "", every: float = 0.5) -> tuple[TimedWord, ...]:
    """A word ends every half second; those named in `sure` are probable."""
    return tuple(
        TimedWord(
            f" {word}", place * every, (place + 1) * every, 0.95 if word in sure.split() else 0.5, False, (place,)
        )
        for place, word in enumerate(text.split())
    )


def observe(text: str, now: float, *, silence: float = 0.0, ended: bool = True, sure: str = "") -> Observation:
    return Observation(words(text, sure=sure), ended, now, silence)


def policy(name: str = "commit", **more: float) -> Policy:
    options = StreamOptions(policy=name, **{"delay": 0.3, "threshold": 0.9, **more})  # type: ignore[arg-type]
    return build_policy(options, options.timing(CommitTiming(patience=1.0)))


def test_a_sure_word_is_final_at_once_when_the_next_one_has_begun() -> None:
    assert policy().decide(observe("a b", 1.0, sure="a b")) == Decision(1, 1)
    assert policy().decide(observe("a", 1.0, sure="a")) == Decision(0, 0)


def test_a_word_that_ended_just_now_is_stable_but_not_final() -> None:
    assert policy().decide(observe("a b", 0.7, sure="a")) == Decision(0, 1)
    assert policy(delay=0.1).decide(observe("a b", 0.7, sure="a")) == Decision(1, 1)


def test_an_unsure_word_is_final_when_two_hypotheses_agree() -> None:
    commit = policy()
    assert commit.decide(observe("a b c", 2.0)) == Decision(0, 0)
    assert commit.decide(observe("A, b! d", 2.1)) == Decision(0, 0)  # hardly new audio: no second hearing
    assert commit.decide(observe("A, b! d", 2.3)) == Decision(2, 2)
    assert commit.decide(Observation(words("d"), True, 2.5, 0.0)) == Decision(0, 0)  # alike twice, but may be cut


def test_nothing_is_final_behind_a_word_that_is_not() -> None:
    assert policy().decide(observe("a b c", 2.0, sure="b c")) == Decision(0, 0)


def test_the_last_word_is_final_after_a_pause_where_the_model_ended() -> None:
    assert policy().decide(observe("a b", 2.0, silence=0.25, sure="a b")) == Decision(2, 2)
    assert policy().decide(observe("a b", 2.0, silence=0.25, sure="a b", ended=False)) == Decision(1, 1)
    assert policy().decide(observe("a b", 2.0, silence=0.1, sure="a b")) == Decision(1, 1)


def test_a_sure_word_before_a_pause_needs_no_delay_and_an_unsure_one_does() -> None:
    assert policy().decide(observe("a b", 1.2, silence=0.25, sure="a b")) == Decision(2, 2)
    commit = policy()
    commit.decide(observe("a b", 0.9))
    assert commit.decide(observe("a b", 1.2, silence=0.25, sure="a")) == Decision(1, 2)


def test_the_less_probable_a_word_is_the_further_back_it_must_lie() -> None:
    for now, final in ((1.31, 1), (1.29, 0)):  # a word of 0.5 that ends at 0.5: 0.3 and half of 1.0 behind
        commit = policy()
        commit.decide(observe("a b", now - 0.4))
        assert commit.decide(observe("a b", now)) == Decision(final, 1)
    late, soon = policy(patience=2.0), policy(patience=0.0)
    for commit in (late, soon):
        commit.decide(observe("a b", 0.8))
    assert (late.decide(observe("a b", 1.2)).final, soon.decide(observe("a b", 1.2)).final) == (0, 1)


def test_words_that_have_become_final_are_forgotten_in_the_hypothesis_before() -> None:
    commit = policy()
    commit.decide(observe("a b c d", 2.0, sure="a"))  # a is final
    assert commit.decide(Observation(words("b c x"), True, 2.5, 0.0)) == Decision(2, 2)


def test_agreement_waits_for_as_many_hypotheses_as_it_is_named_for() -> None:
    two, three = policy("local-agreement-2"), policy("local-agreement-3")
    for agreement, expected in ((two, [0, 2, 0]), (three, [0, 0, 2])):
        texts = ["a b c", "a b d", "a b d"]
        found = []
        done = 0
        for step, text in enumerate(texts):
            decision = agreement.decide(Observation(words(text)[done:], True, 2.0 + step, 0.0))
            found.append(decision.final)
            done += decision.final
        assert found[:2] == expected[:2]
        assert done == (3 if agreement is two else 2)


def test_holding_back_and_emitting_all() -> None:
    assert policy("hold-1").decide(observe("a b c", 2.0)).final == 2
    assert policy("hold-3").decide(observe("a b", 2.0)).final == 0
    assert policy("emit-all").decide(observe("a b c", 9.0, silence=5.0, sure="a b c")).final == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "comit"}, "unknown"),
        ({"policy": "hold-0"}, "unknown"),
        ({"delay": -0.1}, "delay must be 0 or more"),
        ({"step": 0.0}, "step must be more than 0"),
        ({"step": 9.0}, "at most 5"),
        ({"threshold": 1.5}, "threshold must be from 0 to 1"),
        ({"window": 29.0}, "window must be from 5 to 25"),
        ({"beam_size": 0}, "beam_size must be 1 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        StreamOptions(**given)  # type: ignore[arg-type]


def test_language_auto_is_none_and_pauses_are_positive() -> None:
    assert StreamOptions(language="auto").language is None
    with pytest.raises(OptionError, match="pause"):
        Endpointing(pause=0.0)


def test_what_is_not_chosen_is_the_models_own() -> None:
    own = CommitTiming(delay=0.0, step=0.32, patience=0.0, threshold=0.8)
    assert StreamOptions().timing(own) == own
    assert StreamOptions(delay=0.5, threshold=0.7).timing(own) == CommitTiming(0.5, 0.32, 0.0, 0.7)
    assert StreamOptions(delay=0.0, patience=0.0).timing(CommitTiming()) == CommitTiming(delay=0.0, patience=0.0)
