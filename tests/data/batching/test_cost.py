"""The cost of a batch: its inversion by trial, its fit against scipy's non-negative least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from linnet.data.batching import Bins, Cost, Peak, bin_utterances, fit_bins, fit_cost, fit_peak, pack_utterances
from linnet.data.batching.lengths import Lengths
from linnet.errors import OptionError

SHAPES = [
    (1, 2.0, 8),
    (64, 2.0, 8),
    (1, 40.0, 20),
    (6, 40.0, 400),
    (8, 20.0, 10),
    (8, 20.0, 150),
    (16, 10.0, 60),
    (3, 30.0, 200),
]
UNIT = st.floats(0.0, 1.0)


@given(UNIT, UNIT, UNIT, st.floats(0.01, 60), st.integers(0, 500), st.floats(0.1, 1e4))
def test_the_largest_batch_fits_and_the_next_does_not(
    second: float, square: float, token: float, seconds: float, tokens: int, budget: float
) -> None:
    cost = Cost(second + 0.01, square, token, fixed=3.0)
    most = int(cost.most(seconds, tokens, budget))
    assert most == 0 or cost.of(most, seconds, tokens) <= budget
    assert cost.of(most + 1, seconds, tokens) > budget * (1 - 1e-12)


def test_most_of_many_shapes() -> None:
    cost = Cost(per_second=1.0, per_token=0.5)
    assert cost.most([1.0, 10.0, 200.0], [2, 0, 0], budget=100.0).tolist() == [50, 10, 0]


def test_free_utterances_are_refused() -> None:
    with pytest.raises(OptionError, match="cost nothing"):
        Cost(per_second=0.0, per_token=1.0).most([1.0, 1.0], [3, 0], 10.0)


def memory(cost: Cost) -> list[float]:
    return [float(cost.of(*shape)) for shape in SHAPES]


def test_an_exact_cost_is_found_again() -> None:
    cost = Cost(per_second=3e6, per_square_second=2e4, per_token=5e5, fixed=2e9, per_utterance=7e6)
    fitted = fit_cost(SHAPES, memory(cost))
    for name in ("per_second", "per_square_second", "per_token", "fixed", "per_utterance"):
        assert getattr(fitted, name) == pytest.approx(getattr(cost, name), rel=1e-6)
    assert np.abs(fitted.errors(SHAPES, memory(cost))).max() < 1e-9


def test_the_probes_of_bins_are_enough_for_a_fit() -> None:
    random = np.random.default_rng(0)
    durations = random.uniform(1, 40, 5000).astype(np.float32)
    bins = fit_bins(durations, (durations * random.uniform(2, 5, 5000)).astype(np.int32))
    probes = bins.probes()
    assert len(probes) == 8
    assert (min(probes), max(probes)) == ((bins.seconds[0], bins.tokens[0]), (bins.seconds[-1], bins.tokens[-1]))
    cost = Cost(per_second=3e6, per_square_second=2e4, per_token=5e5, fixed=2e9)
    shapes = [(1 + 3 * (at % 2), *shape) for at, shape in enumerate(probes)]
    fitted = fit_cost(shapes, [float(cost.of(*shape)) for shape in shapes])
    most, wanted = (each.most(bins.seconds, bins.tokens, 4e10) for each in (fitted, cost))
    assert np.abs(most - wanted).max() <= 1  # rounding, where a batch fits exactly
    assert fit_bins(durations[:1], np.ones(1, np.int32)).probes() == [(durations[0], 1)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.5, 2.0), min_size=len(SHAPES), max_size=len(SHAPES)), UNIT, UNIT, UNIT, UNIT, UNIT)
def test_the_fit_is_that_of_scipy(
    noise: list[float], second: float, square: float, token: float, fixed: float, share: float
) -> None:
    """With noise this strong the plain solution often has negative terms; relative errors are what is minimized."""
    cost = Cost(second + 0.1, square / 50, token, fixed * 10)
    measured = np.array(memory(cost)) * noise
    n, d, t = np.array(SHAPES).T
    terms = np.stack([np.ones_like(n), n, n * d, n * d * d, n * t], axis=1) / measured[:, None]
    known = share * measured.min()
    _, residual = nnls(terms, 1 - known / measured)
    fitted = fit_cost(SHAPES, measured.tolist(), known=known)
    assert (
        min(fitted.fixed - known, fitted.per_utterance, fitted.per_second, fitted.per_square_second, fitted.per_token)
        >= 0
    )
    assert np.linalg.norm(fitted.errors(SHAPES, measured.tolist())) == pytest.approx(residual, rel=1e-6, abs=1e-9)


def test_a_few_noisy_measurements_foretell_other_shapes() -> None:
    """2 % of noise on eight probes; the paper's tool stops its search at 5 %."""
    cost = Cost(per_second=3e7, per_square_second=6e5, per_token=4e6, fixed=2e9)
    random = np.random.default_rng(3)
    fitted = fit_cost(SHAPES, (np.array(memory(cost)) * random.uniform(0.98, 1.02, len(SHAPES))).tolist())
    others = [
        (int(cost.most(d, t, 40e9)), d, t) for d, t in ((4.0, 30), (15.2, 99), (25.0, 120), (40.0, 253), (40.0, 480))
    ]
    assert np.abs(fitted.errors(others, [float(cost.of(*shape)) for shape in others])).max() < 0.05


# a step has its peak in the encoder (sound alone), in the language model, or where a gradient is held
MOMENTS = (
    Cost(per_second=3e7, per_square_second=2e4, fixed=1e9),
    Cost(per_second=4e5, per_token=6e6, per_utterance=2e6, fixed=1e9),
    Cost(per_second=8e5, per_token=9e5, fixed=1.5e9),
)


def slow_peak(n: int, d: float, t: int) -> float:
    return max(
        each.fixed
        + n * (each.per_utterance + each.per_second * d + each.per_square_second * d * d + each.per_token * t)
        for each in MOMENTS
    )


def test_the_moments_of_a_peak_are_found_and_one_formula_would_not_do() -> None:
    measured = [[float(moment.of(*shape)) for shape in SHAPES] for moment in MOMENTS]
    fitted = fit_peak(SHAPES, [*measured, [9e8] * len(SHAPES)], known=9e8)
    assert len(fitted.moments) == len(MOMENTS)  # what is never the largest is dropped
    random = np.random.default_rng(1)
    others = [(int(random.integers(1, 60)), random.uniform(2, 40), int(random.integers(8, 400))) for _ in range(40)]
    wanted = [slow_peak(*shape) for shape in others]
    assert np.abs(fitted.errors(others, wanted)).max() < 1e-9
    single = fit_cost(SHAPES, [slow_peak(*shape) for shape in SHAPES])
    assert np.abs(single.errors(others, wanted)).max() > 0.2


@given(st.floats(2.0, 40.0), st.integers(8, 400), st.floats(1.2e9, 4e10))
def test_the_largest_batch_of_a_peak_fits_and_the_next_does_not(seconds: float, tokens: int, budget: float) -> None:
    most = int(Peak(MOMENTS).most(seconds, tokens, budget))
    count = 0
    while slow_peak(count + 1, seconds, tokens) <= budget:  # by trial, as it would be measured
        count += 1
    assert abs(most - count) <= (abs(slow_peak(count + 1, seconds, tokens) / budget - 1) < 1e-12)


def test_a_moment_that_does_not_grow_bounds_nothing_but_a_smaller_budget() -> None:
    peak = Peak((Cost(per_second=2.0), Cost(per_second=0.0, fixed=30.0)))
    assert [int(peak.most(5.0, 1, budget)) for budget in (29.0, 30.0, 45.0)] == [0, 3, 4]


def test_no_bin_and_no_pack_is_over_the_budget_of_a_peak() -> None:
    random = np.random.default_rng(2)
    durations = random.uniform(1, 30, 3000).astype(np.float32)
    tokens = (durations * random.uniform(1, 8, 3000) + 1).astype(np.int32)
    lengths, peak, budget = Lengths(durations, tokens, (("a", 3000),), "x"), Peak(MOMENTS), 1.2e10
    binning = bin_utterances(lengths, peak, budget)
    bins: Bins = binning.bins
    for size, seconds, most in zip(binning.sizes.tolist(), bins.seconds.tolist(), bins.tokens.tolist(), strict=True):
        assert slow_peak(size, seconds, most) <= budget < slow_peak(size + 1, seconds, most)
    packing = pack_utterances(lengths, peak, budget)
    plan = packing.plan(packing.rows, 1, np.random.Philox(0))
    for begin, end in zip(plan.starts, plan.ends, strict=True):
        own = [(float(durations[row]), int(tokens[row])) for row in plan.rows[begin:end]]
        for each in MOMENTS:
            assert each.fixed + sum(float(each.of(1, *shape)) - each.fixed for shape in own) <= budget


@pytest.mark.parametrize(
    ("shapes", "measured", "says"),
    [
        (SHAPES[:4], [1.0, 2.0, 3.0, 4.0], "at least"),
        (SHAPES, [1.0] * 7, "one for each"),
        (SHAPES, [1.0] * 7 + [-1.0], "positive"),
        (SHAPES, [1.0] * 7 + [float("nan")], "positive"),
        ([(n, 5.0, 20) for n in range(1, 7)], [1.0] * 6, "too alike"),
        ([(1, d / 2, 0) for d in range(1, 7)], [1.0] * 6, "too alike"),
    ],
)
def test_measurements_that_tell_too_little_are_refused(
    shapes: list[tuple[int, float, int]], measured: list[float], says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        fit_cost(shapes, measured)
