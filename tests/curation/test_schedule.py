"""Thresholds keep the share of the hours that they are made for."""

from __future__ import annotations

import numpy as np
import pytest

from linnet.curation.schedule import (
    above,
    first_threshold,
    grown,
    growth_between,
    threshold_for,
    weighted_quantile,
)
from linnet.errors import OptionError

RNG = np.random.default_rng(0)
scores, seconds = RNG.random(5000), RNG.uniform(1, 20, 5000)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
def test_a_threshold_keeps_its_share_of_the_seconds(share: float) -> None:
    kept = scores > threshold_for(scores, seconds, share)
    assert seconds[kept].sum() / seconds.sum() == pytest.approx(share, abs=0.001)


def test_equal_weights_are_a_plain_quantile() -> None:
    values = RNG.random(101)
    for share in (0.1, 0.5, 0.9):
        expected = np.quantile(values, share, method="inverted_cdf")
        assert weighted_quantile(values, np.ones(101), share) == expected


def test_the_last_of_growing_thresholds_keeps_the_share() -> None:
    first = first_threshold(scores, seconds, 0.2, 1.1, 10)
    last = grown(first, 1.1, 10)[-1]
    assert seconds[scores > last].sum() / seconds.sum() == pytest.approx(0.2, abs=0.001)
    growth = growth_between(0.8, 0.2, scores, seconds, 4)
    taus = grown(threshold_for(scores, seconds, 0.8), growth, 4)
    assert seconds[scores > taus[-1] * (1 + 1e-12)].sum() / seconds.sum() == pytest.approx(0.2, abs=0.001)


def test_the_published_rounds_are_one_threshold() -> None:
    assert grown(0.3, 1.1, 10)[-1] == pytest.approx(0.7074, abs=1e-4)


def test_scores_below_zero_cannot_grow() -> None:
    with pytest.raises(OptionError, match="needs scores above 0"):
        first_threshold(scores - 5, seconds, 0.2, 1.1, 3)
    with pytest.raises(OptionError, match="two rounds"):
        growth_between(0.8, 0.2, scores, seconds, 1)


def test_a_round_that_overshoots_is_cut_short() -> None:
    kept, threshold = above(scores, seconds, 2.0, least=0.1)
    assert seconds[kept].sum() / seconds.sum() == pytest.approx(0.1, abs=0.005)
    assert threshold == scores[kept].min()
    kept, threshold = above(scores, seconds, 0.5, least=0.1)
    assert threshold == 0.5
    assert np.array_equal(kept, scores > 0.5)


def test_a_score_that_is_no_number_is_never_above() -> None:
    kept, _ = above(np.array([np.nan, 0.2]), np.ones(2), 0.5, least=0.9)
    assert kept.tolist() == [False, True]
    assert np.isnan(weighted_quantile(np.array([np.nan]), np.ones(1), 0.5))
