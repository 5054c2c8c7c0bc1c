"""The interval: a slow twin, how often it holds the truth, and what it does where little is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from linnet.scoring import bootstrap
from linnet.scoring.bootstrap import bootstrap_interval, bootstrap_ratio, exact_bounds, student_t
from linnet.scoring.clusters import ResamplingClusters


def ratio_and_error(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A ratio of sums and its linearized standard error, as they are written down."""
    top, bottom = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    ratio = top / bottom
    spread = sum((a - ratio * b) ** 2 for a, b in pairs) * len(pairs) / (len(pairs) - 1)
    return ratio, math.sqrt(spread) / bottom


def slow_twin(pairs: Sequence[tuple[float, float]], resamples: int, seed: int) -> tuple[float, float]:
    """The ends of the bootstrap-t, corpus by corpus, and of Student's t: the farther ones."""
    ratio, error = ratio_and_error(pairs)
    drawn = []
    for picks in np.random.default_rng(seed).integers(0, len(pairs), size=(resamples, len(pairs))):
        again, its_error = ratio_and_error([pairs[pick] for pick in picks])
        if its_error > 1e-9:
            drawn.append((again - ratio) / its_error)
    low, high = np.quantile(drawn, [0.025, 0.975])
    reach = stats.t.ppf(0.975, len(pairs) - 1)
    return ratio - error * max(high, reach), ratio - error * min(low, -reach)


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_a_slow_twin(seed: int) -> None:
    random = np.random.default_rng(seed)
    words = random.integers(4, 30, 12)
    errors = random.binomial(words, random.beta(2, 8, 12))
    found = bootstrap_ratio(errors, words, resamples=300, seed=seed)
    assert found is not None
    pairs = list(zip(errors.tolist(), words.tolist(), strict=True))
    assert (found.value, found.error) == pytest.approx(ratio_and_error(pairs))
    assert (found.interval.low, found.interval.high) == pytest.approx(slow_twin(pairs, 300, seed))


def test_blocks_are_resampled_whole() -> None:
    errors, words, names = [1, 0, 3, 0, 2, 1], [5, 4, 6, 5, 5, 7], list("abcabd")
    by_hand = bootstrap_interval([1, 2, 3, 1], [10, 9, 6, 7], resamples=200)
    found = bootstrap_interval(errors, words, clusters=ResamplingClusters.of("speakers", names), resamples=200)
    assert found is not None
    assert by_hand is not None
    assert (found.low, found.high) == pytest.approx((by_hand.low, by_hand.high))
    assert (found.unit, found.units) == ("speakers", 4)


def simulated(random: np.random.Generator, speakers: int) -> tuple[list[int], list[int], list[str]]:
    """Each speaker has an own error rate, 0.2 on average, and 10 utterances of 10 words."""
    rates = np.repeat(random.beta(2, 8, speakers), 10)
    names = [str(speaker) for speaker in range(speakers) for _ in range(10)]
    return list(random.binomial(10, rates)), [10] * len(rates), names


def test_it_holds_the_truth_as_often_as_it_says_where_speakers_differ() -> None:
    """benchmarks/scoring.py does this a thousand times for many kinds of corpora."""
    random = np.random.default_rng(3)
    hits = {"speakers": 0, "utterances": 0}
    for seed in range(200):
        errors, words, names = simulated(random, 20)
        for clusters in (ResamplingClusters.of("speakers", names), None):
            interval = bootstrap_interval(errors, words, clusters=clusters, resamples=400, seed=seed)
            assert interval is not None
            hits[interval.unit] += interval.low <= 0.2 <= interval.high
    assert 0.91 <= hits["speakers"] / 200 <= 0.99
    assert hits["utterances"] / 200 <= 0.8  # an utterance's neighbors are taken for news


def test_the_p_value_is_as_rare_as_it_says_and_agrees_with_the_interval() -> None:
    random = np.random.default_rng(5)
    rejected = 0
    for seed in range(200):
        differences = np.repeat(random.normal(0, 1, 20), 5) + random.normal(0, 2, 100)
        clusters = ResamplingClusters.of("speakers", [str(n // 5) for n in range(100)])
        found = bootstrap_ratio(differences, np.full(100, 10), clusters=clusters, resamples=400, seed=seed)
        assert found is not None
        outside = not found.interval.low <= 0 <= found.interval.high
        if abs(found.p_value - 0.05) > 0.01:  # quantiles are interpolated, counts are not
            assert outside == (found.p_value < 0.05)
        rejected += outside
    assert 0.01 <= rejected / 200 <= 0.09


def test_many_blocks_take_students_t() -> None:
    random = np.random.default_rng(2)
    words = random.integers(3, 12, 6000)
    errors = random.binomial(words, 0.1)
    found = bootstrap_interval(errors, words)
    ratio, error = ratio_and_error(list(zip(errors.tolist(), words.tolist(), strict=True)))
    assert found is not None
    assert (found.method, found.resamples) == ("t", 0)
    assert (found.low, found.high) == pytest.approx((ratio - 1.9604 * error, ratio + 1.9604 * error), rel=1e-4)


@pytest.mark.parametrize("freedom", [1, 3.7, 40])
def test_students_t_is_scipys(freedom: float) -> None:
    reach, p_value = student_t(freedom, 0.9, -1.3)
    assert (reach, p_value) == pytest.approx((stats.t.ppf(0.95, freedom), 2 * stats.t.cdf(-1.3, freedom)))


def test_the_same_seed_gives_the_same_interval_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, words, _ = simulated(np.random.default_rng(1), 5)
    first = bootstrap_interval(errors, words, seed=4)
    assert bootstrap_interval(errors, words, seed=4) == first
    assert bootstrap_interval(errors, words, seed=5) != first
    monkeypatch.setattr(bootstrap, "CHUNK", 777)
    again = bootstrap_interval(errors, words, seed=4)
    assert first is not None
    assert again is not None
    assert (again.low, again.high) == pytest.approx((first.low, first.high))


def test_a_rate_is_never_below_0_but_a_difference_may_be() -> None:
    errors, words = [0] * 30 + [9], [10] * 31
    interval, ratio = bootstrap_interval(errors, words), bootstrap_ratio(errors, words)
    assert interval is not None
    assert ratio is not None
    assert interval.low == 0.0 > ratio.interval.low
    assert interval.high == ratio.interval.high


def test_one_error_in_many_utterances_does_not_end_the_interval_there() -> None:
    """Draws without the erring utterance have no spread: Student's t keeps the end open."""
    interval = bootstrap_interval([1] + [0] * 99, [10] * 100)
    assert interval is not None
    assert interval.high > 0.0025 > 0.001


def test_too_little_has_no_interval() -> None:
    assert bootstrap_interval([], []) is None
    assert bootstrap_interval([1], [5]) is None
    assert bootstrap_interval([1, 2], [0, 0]) is None
    assert bootstrap_interval([1, 2], [4, 4], clusters=ResamplingClusters.of("speakers", ["a", "a"])) is None


def test_blocks_that_are_all_alike_have_the_bounds_of_their_counts() -> None:
    found = bootstrap_ratio([1, 1, 1], [5, 5, 5])
    assert found is not None
    exact = stats.binomtest(3, 15).proportion_ci(0.95, "exact")
    assert (found.interval.low, found.interval.high) == pytest.approx((exact.low, exact.high))
    assert (found.interval.unit, found.interval.units, found.interval.method) == ("words", 15, "exact binomial")
    assert found.p_value == 0.25  # three signs that agree
    less = bootstrap_ratio([-1, -1, -1], [5, 5, 5])
    assert less is not None
    assert (less.interval.low, less.interval.high) == pytest.approx((-exact.high, -exact.low))
    none = bootstrap_ratio([0, 0, 0], [5, 5, 5])
    assert none is not None
    assert none.p_value == 1.0


def test_two_speakers_make_a_wide_interval() -> None:
    found = bootstrap_interval([1, 5], [50, 50], clusters=ResamplingClusters.of("speakers", ["a", "b"]))
    assert found is not None
    assert found.high > 0.06 + 12.7 * statistics.stdev([0.02, 0.1]) / math.sqrt(2) - 1e-3


def test_utterances_without_words_add_their_insertions() -> None:
    interval = bootstrap_interval([0] * 50 + [1] * 50, [4] * 50 + [0] * 50, resamples=500)
    assert interval is not None
    assert interval.low < 0.25 < interval.high


def test_an_interval_says_what_was_resampled() -> None:
    known = bootstrap_interval([1, 0, 2], [9, 9, 9], clusters=ResamplingClusters.of("speakers", ["a", "b", "c"]))
    unknown = bootstrap_interval([1, 0, 2], [9, 9, 9])
    assert str(known).endswith("over 3 speakers: too few for a reliable interval")
    many = bootstrap_interval([1] * 7 + [2], [9] * 8, clusters=ResamplingClusters.of("speakers", list("abcdefgh")))
    assert str(many).endswith("over 8 speakers")
    assert str(unknown).endswith("over 3 utterances: no speaker, session or recording is known, it may be too narrow")


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("errors", "words"), [(0, 1), (0, 24), (0, 10_000), (1, 24), (5, 5), (7, 300), (23, 24)])
def test_exact_bounds_are_clopper_and_pearsons(errors: int, words: int, level: float) -> None:
    exact = stats.binomtest(errors, words).proportion_ci(level, "exact")
    assert exact_bounds(errors, words, level) == pytest.approx((exact.low, exact.high))
    if not errors:
        assert exact_bounds(errors, words, level)[1] == pytest.approx(1 - ((1 - level) / 2) ** (1 / words))


def test_more_errors_than_words_have_the_bounds_of_a_poisson_rate() -> None:
    low, high = exact_bounds(30, 10)
    assert (low, high) == pytest.approx((stats.chi2.ppf(0.025, 60) / 20, stats.chi2.ppf(0.975, 62) / 20))


def test_no_errors_are_no_certainty() -> None:
    """No errors in 24 words were said to be an interval of 0.00 % to 0.00 %."""
    for clusters in (None, ResamplingClusters.of("speakers", ["a", "b", "b"])):
        found = bootstrap_interval([0, 0, 0], [12, 6, 6], clusters=clusters)
        assert found is not None
        assert str(found).startswith("95% interval 0.00% to 14.25%, exact binomial (Clopper-Pearson) over 24 words")
    same = bootstrap_ratio([0, 0, 0], [12, 6, 6])
    assert same is not None
    assert (same.interval.low, same.interval.high) == pytest.approx((-0.14247, 0.14247), abs=1e-5)
