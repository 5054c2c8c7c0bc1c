"""The selections that have to be beaten."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.curation.prove import baselines
from linnet.curation.prove.baselines import Pool, fill
from linnet.errors import OptionError

SECONDS = np.random.default_rng(0).lognormal(1.0, 0.6, 400)
POOL = Pool(SECONDS, strata=tuple("ab"[number % 4 == 0] for number in range(400)))
BUDGET = 0.2 * float(SECONDS.sum())


@given(st.lists(st.floats(0.1, 30.0), min_size=1, max_size=60), st.floats(0.05, 1.0), st.integers(0, 9))
def test_a_filled_budget_leaves_no_room_for_any_other_row(seconds: list[float], share: float, seed: int) -> None:
    lengths = np.array(seconds)
    budget = share * float(lengths.sum())
    chosen = fill(np.random.default_rng(seed).permutation(len(lengths)), lengths, budget)
    total = float(lengths[chosen].sum())
    others = np.setdiff1d(np.arange(len(lengths)), chosen)
    assert total <= budget * (1 + 1e-9)
    assert not len(others) or total + float(lengths[others].min()) > budget * (1 - 1e-9)
    assert len(set(chosen.tolist())) == len(chosen)


@pytest.mark.parametrize("draw", [baselines.random, baselines.stratified, baselines.longest, baselines.shortest])
def test_each_fills_the_budget_and_is_the_same_again(draw) -> None:
    chosen = draw(POOL, BUDGET, 5)
    assert np.array_equal(chosen, draw(POOL, BUDGET, 5))
    assert 0.97 * BUDGET < SECONDS[chosen].sum() <= BUDGET * (1 + 1e-9)


def test_draws_differ_by_seed() -> None:
    assert not np.array_equal(baselines.random(POOL, BUDGET, 1), baselines.random(POOL, BUDGET, 2))


def test_strata_keep_their_share_of_the_hours() -> None:
    chosen = baselines.stratified(POOL, BUDGET, 0)
    names = np.array(POOL.strata)
    for name in "ab":
        kept = SECONDS[chosen][names[chosen] == name].sum() / SECONDS[names == name].sum()
        assert kept == pytest.approx(0.2, abs=0.03)


def test_longest_and_shortest_are_the_ends() -> None:
    order = np.argsort(SECONDS)
    assert SECONDS[baselines.shortest(POOL, BUDGET, 0)].max() <= SECONDS[order[300]]
    assert SECONDS[baselines.longest(POOL, BUDGET, 0)].mean() > SECONDS[order[370]]


def test_a_matched_draw_has_the_histogram_of_what_it_is_matched_to() -> None:
    like = baselines.longest(POOL, BUDGET, 0)
    chosen = baselines.duration_matched(POOL, BUDGET, 3, like)
    edges = np.quantile(SECONDS, np.linspace(0, 1, baselines.DURATION_BINS + 1)[1:-1])
    counts = [np.bincount(np.searchsorted(edges, SECONDS[rows], side="right"), minlength=16) for rows in (like, chosen)]
    assert np.abs(counts[0] - counts[1]).sum() <= 2
    assert SECONDS[chosen].sum() <= BUDGET * (1 + 1e-9)


def test_errors_choose_from_either_end_and_unknown_ones_come_last() -> None:
    errors = np.linspace(0, 1, 400)
    errors[7] = np.nan
    pool = Pool(SECONDS, errors=errors)
    high, low = (baselines.by_error(pool, BUDGET, 0, highest=which) for which in (True, False))
    assert high.min() > low.max()
    assert 7 not in high
    assert 7 not in low


def test_a_method_that_lacks_what_it_needs_says_so() -> None:
    with pytest.raises(OptionError, match="evaluation of the pool"):
        baselines.by_error(POOL, BUDGET, 0, highest=True)
    with pytest.raises(OptionError, match="gate-only"):
        baselines.among(POOL, BUDGET, 0, None, "gate-only")
    with pytest.raises(OptionError, match="language or a domain"):
        baselines.stratified(Pool(SECONDS), BUDGET, 0)


def test_among_takes_allowed_rows_only() -> None:
    allowed = np.arange(400) % 2 == 0
    assert (baselines.among(POOL, BUDGET, 0, allowed, "oracle") % 2 == 0).all()
