"""Residuals and ranks, against the rows themselves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from linnet.curation.moments import BINS, ENOUGH, Histogram, Moments, duration_bin


def pool(rows=4000, groups=3, seed=0):
    rng = np.random.default_rng(seed)
    seconds = np.exp(rng.normal(1.5, 0.7, rows))
    of = rng.integers(0, groups, rows)
    scores = np.log2(seconds) * (1 + of) + rng.normal(0, 0.3 + 0.1 * seconds)
    return scores, of, seconds


def test_a_residual_is_by_the_line_through_the_bin():
    scores, of, seconds = pool()
    found = Moments.of(scores, of, seconds, 3).residuals(scores, of, seconds)
    bins = duration_bin(seconds)
    full = 0
    for at in range(0, len(scores), 37):
        alike = (of == of[at]) & (bins == bins[at])
        if alike.sum() < 2 * ENOUGH:
            continue
        low, high = 2.0 ** (np.array([bins[at] - 1, bins[at]]) / 6) / 8
        x, y = (seconds[alike] - low) / (high - low), scores[alike]
        slope = np.cov(x, y, bias=True)[0, 1] / (x.var() + 1 / alike.sum())
        line = y.mean() + slope * ((seconds - low) / (high - low) - x.mean())
        deviation = (y - line[alike]).std()
        assert found[at] == pytest.approx((scores[at] - line[at]) / deviation, abs=0.02)
        full += 1
    assert full > 50


def test_length_is_gone():
    scores, of, seconds = pool()
    moments = Moments.of(scores, of, seconds, 3)
    residuals = moments.residuals(scores, of, seconds)
    ranks = Histogram.of(residuals, of, seconds, 3).ranks(residuals, of)
    assert spearmanr(scores, seconds).statistic > 0.5
    assert abs(spearmanr(residuals, seconds).statistic) < 0.03
    assert abs(spearmanr(ranks, seconds).statistic) < 0.03


def test_a_small_group_is_compared_with_everyone_at_its_own_level():
    rng = np.random.default_rng(1)
    seconds, of = np.full(1003, 4.0), np.repeat([0, 1], [1000, 3])
    scores = np.concatenate([rng.normal(0, 1, 1000), [4.0, 5.0, 6.0]])
    found = Moments.of(scores, of, seconds, 2).residuals(scores, of, seconds)
    assert found[1000:] == pytest.approx([-1.0, 0.0, 1.0], abs=0.2)  # and with the deviation of all: its own is 0.8
    ranks = Histogram.of(found, of, seconds, 2).ranks(found, of)
    assert (ranks[1000:] > 0.05).all()
    assert (ranks[1000:] < 0.95).all()


def test_levels_are_those_of_a_random_effect():
    rng = np.random.default_rng(3)
    sizes = np.array([400, 100, 7, 5, 3, 2, 1])
    of = np.repeat(np.arange(7), sizes)
    seconds = np.full(len(of), 3.0)
    scores = rng.normal(0, 1.5, 7)[of] + rng.normal(0, 1, len(of))
    found = Moments.of(scores, of, seconds, 7).residuals(scores, of, seconds)
    # analysis of variance by hand: all have one length, so the line of all is a mean
    level = np.zeros(7)
    for _ in range(3):
        left = scores - level[of]
        center, within = left.mean(), left.var()
        away = np.array([(scores[of == one] - center).mean() for one in range(7)])
        observed = (sizes * (away - (sizes * away).sum() / sizes.sum()) ** 2).sum()
        between = max(observed - 6 * within, 0) / (sizes.sum() - (sizes**2).sum() / sizes.sum())
        level = sizes * between / (sizes * between + within) * away
    for one in (4, 5, 6):  # 3, 2 and 1 rows, complemented to 30
        mine, rest = scores[of == one] - level[one], scores - level[of]
        lacking = 30 - sizes[one]
        usual = level[one] + (mine.sum() + lacking * rest.mean()) / 30
        square = ((mine**2).sum() + lacking * (rest**2).mean()) / 30
        deviation = np.sqrt(square - (usual - level[one]) ** 2)
        assert found[of == one] == pytest.approx((scores[of == one] - usual) / deviation, abs=0.01)


def test_groups_that_differ_by_chance_have_one_level():
    rng = np.random.default_rng(4)
    seconds, of = np.full(640, 4.0), np.repeat(np.arange(80), 8)
    scores = rng.normal(0, 1, 640)
    found = Moments.of(scores, of, seconds, 80).residuals(scores, of, seconds)
    assert spearmanr(found, scores).statistic > 0.97


def test_length_is_gone_where_groups_are_small_and_differ():
    """Low scores in languages of three long recordings each are no sign that long ones are worth less."""
    rng = np.random.default_rng(5)
    of = np.concatenate([np.zeros(150, np.int64), np.repeat(np.arange(1, 21), 3)])
    middle = np.concatenate([[6.0], np.full(20, 20.0)])
    seconds = middle[of] * np.exp(rng.normal(0, 0.3, len(of)))
    scores = rng.normal(0, 1, len(of)) - 3.0 * (of > 0) * (1 + rng.random(21)[of]) + 0.5 * np.log2(seconds)
    residuals = Moments.robust(scores, of, seconds, 21).residuals(scores, of, seconds)
    ranks = Histogram.of(residuals, of, seconds, 21).ranks(residuals, of)
    assert spearmanr(scores, seconds).statistic < -0.4
    assert abs(spearmanr(ranks, seconds).statistic) < 0.1


def test_outliers_do_not_bend_the_line():
    rng = np.random.default_rng(6)
    seconds = np.exp(rng.uniform(0, 3, 900))
    broken = (rng.random(900) < 0.1) & (seconds > 8)
    scores = np.log2(seconds) + rng.normal(0, 0.3, 900) - 16.0 * broken
    of = np.zeros(900, np.int64)
    long = (seconds > 8) & ~broken
    above = [
        np.mean(made(scores, of, seconds, 1).residuals(scores, of, seconds)[long] > 0)
        for made in (Moments.of, Moments.robust)
    ]
    assert above[0] > 0.9  # of sound recordings, because the broken ones draw the line below them
    assert above[1] < 0.85


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5), st.lists(st.integers(0, 60), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_sharding_gives_the_same_sums(seed, cuts, random):
    scores, of, seconds = pool(60, seed=seed)
    scores[3] = np.nan
    edges = sorted({0, 60, *cuts})
    shards = [slice(*pair) for pair in pairwise(edges)]
    random.shuffle(shards)
    moments = Moments.of(scores[:0], of[:0], seconds[:0], 3)
    histogram = Histogram.of(scores[:0], of[:0], seconds[:0], 3)
    for shard in shards:
        moments += Moments.of(scores[shard], of[shard], seconds[shard], 3)
        histogram += Histogram.of(scores[shard], of[shard], seconds[shard], 3)
    assert np.array_equal(moments.sums, Moments.of(scores, of, seconds, 3).sums)
    assert np.array_equal(histogram.mass, Histogram.of(scores, of, seconds, 3).mass)


def test_a_rank_is_a_share_of_the_hours():
    rng = np.random.default_rng(2)
    scores, seconds, of = rng.normal(0, 1, 3000), rng.uniform(1, 20, 3000), np.zeros(3000, np.int64)
    ranks = Histogram.of(scores, of, seconds, 1).ranks(scores, of)
    below = np.array([seconds[scores < one].sum() for one in scores]) / seconds.sum()
    assert np.abs(ranks - below).max() < 2e-3
    assert (np.diff(ranks[np.argsort(scores)]) >= 0).all()


def test_what_is_not_known_stays_so():
    scores, of, seconds = np.array([np.nan, 1.0, 1.0]), np.zeros(3, np.int64), np.array([2.0, np.nan, 2.0])
    residuals = Moments.of(scores, of, seconds, 1).residuals(scores, of, seconds)
    assert np.isnan(residuals[0])
    assert residuals[1:].tolist() == [0.0, 0.0]  # no deviation: nothing stands out
    ranks = Histogram.of(residuals, of, seconds, 1).ranks(residuals, of)
    assert np.isnan(ranks[0])
    assert ranks[1:].tolist() == [0.5, 0.5]  # as good as any other
    assert duration_bin(np.array([0.0, 1e9, np.nan])).tolist() == [0, BINS - 1, BINS - 1]
