"""The interval: covers as often as it says, is seeded, resamples speakers where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from linnet.evaluation import bootstrap
from linnet.evaluation.bootstrap import bootstrap_interval


def simulated(random: np.random.Generator, utterances: int = 120) -> tuple[list[int], list[int]]:
    """A corpus whose every word is wrong with probability 0.1; utterances differ in length."""
    words = random.integers(3, 12, utterances)
    return list(random.binomial(words, 0.1)), list(words)


def test_the_interval_covers_the_true_rate_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    hits = 0
    for seed in range(200):
        interval = bootstrap_interval(*simulated(random), resamples=400, seed=seed)
        assert interval is not None
        hits += interval.low <= 0.1 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


def test_resampling_utterances_is_too_sure_where_speakers_differ() -> None:
    """20 speakers of 10 utterances, each with an own error rate: only their resampling covers the mean rate, 0.2."""
    random = np.random.default_rng(3)
    speakers = [str(speaker) for speaker in range(20) for _ in range(10)]
    hits = {"speakers": 0, "utterances": 0}
    for seed in range(100):
        rates = np.repeat(random.beta(1, 4, 20), 10)
        errors = list(random.binomial(10, rates))
        for names in (speakers, None):
            interval = bootstrap_interval(errors, [10] * 200, speakers=names, resamples=300, seed=seed)
            assert interval is not None
            hits[interval.unit] += interval.low <= 0.2 <= interval.high
    assert hits["speakers"] >= 83
    assert hits["utterances"] <= 75


def test_it_equals_a_plain_loop() -> None:
    errors, words = [1, 0, 3, 0, 2], [5, 4, 6, 5, 5]
    random = np.random.default_rng(5)
    draws = random.integers(0, 5, size=(200, 5))
    rates = [sum(errors[i] for i in drawn) / sum(words[i] for i in drawn) for drawn in draws]
    interval = bootstrap_interval(errors, words, resamples=200, seed=5)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])))


def test_the_same_seed_gives_the_same_interval_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = simulated(np.random.default_rng(1), 50)
    first = bootstrap_interval(*corpus, seed=4)
    assert bootstrap_interval(*corpus, seed=4) == first
    assert bootstrap_interval(*corpus, seed=5) != first
    monkeypatch.setattr(bootstrap, "_CHUNK", 777)
    assert bootstrap_interval(*corpus, seed=4) == first


def test_speakers_count_only_where_all_are_known_and_not_too_few() -> None:
    errors, words = [1] * 12, [5] * 12
    units = {
        "all": bootstrap_interval(errors, words, speakers=list("abcdef") * 2),
        "one unknown": bootstrap_interval(errors, words, speakers=[None, *"abcdefabcde"]),
        "few": bootstrap_interval(errors, words, speakers=list("abcd") * 3),
    }
    assert {name: (interval.unit, interval.units) for name, interval in units.items() if interval} == {
        "all": ("speakers", 6),
        "one unknown": ("utterances", 12),
        "few": ("utterances", 12),
    }


def test_too_little_has_no_interval() -> None:
    assert bootstrap_interval([], []) is None
    assert bootstrap_interval([1], [5]) is None
    assert bootstrap_interval([1, 2], [0, 0]) is None


def test_utterances_without_words_add_their_insertions() -> None:
    interval = bootstrap_interval([0] * 50 + [1] * 50, [4] * 50 + [0] * 50, resamples=500)
    assert interval is not None
    assert interval.low < 0.25 < interval.high
