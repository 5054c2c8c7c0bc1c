"""Ranks: LiteASR's rule on hand-made spectra, and the budget against every combination there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from linnet.compression.allocation import Choice, allocate, by_threshold, choices_of, threshold_rank
from linnet.compression.factors import Analysis
from linnet.compression.sites import Site
from linnet.errors import OptionError
from linnet.models.lowrank.layers import parameters_of


def analysis(energies: torch.Tensor) -> Analysis:
    """Only energies: ranks need nothing else."""
    none = torch.zeros(0)
    return Analysis(none, none, none, energies, energies, none, none)


def site(name: str, inputs: int, outputs: int, kind: str = "attention") -> Site:
    return Site(name, inputs, outputs, kind, name)  # type: ignore[arg-type]


def test_threshold_takes_the_first_multiple_that_carries_more() -> None:
    energies = torch.ones(64, dtype=torch.float64)
    assert threshold_rank(energies, 0.2) == 16  # 0.25 is more than 0.2
    assert threshold_rank(energies, 0.25) == 32  # and not more than itself
    assert threshold_rank(energies, 0.99) == 64
    assert threshold_rank(energies, 1.0) is None  # LiteASR would go on with a rank of -1 here
    assert threshold_rank(torch.ones(40, dtype=torch.float64), 0.9) is None  # no multiple of 16 carries it


def test_layers_stay_dense_where_factors_would_not_pay() -> None:
    sites = [site("q", 64, 64), site("v", 64, 64), site("fc1", 64, 256, "mlp"), site("fc2", 256, 64, "mlp")]
    steep, half = torch.zeros(64, dtype=torch.float64), torch.zeros(64, dtype=torch.float64)
    steep[:3], half[:33] = 1.0, 1.0
    spectra = {"q": steep, "v": half, "fc1": half, "fc2": torch.ones(64, dtype=torch.float64)}
    ranks = by_threshold(sites, {name: analysis(one) for name, one in spectra.items()}, 0.99, 0.99)
    assert ranks == {"q": 16, "v": None, "fc1": 48, "fc2": None}  # 48 > 0.5 of 64; 48 < 0.8 of 64; 64 > 0.8 of 64


def test_a_threshold_that_is_no_share_is_refused() -> None:
    with pytest.raises(OptionError, match=r"above 0 and at most 1; got 1\.5"):
        by_threshold([], {}, 1.5, 0.9)


@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_choices_cost_less_than_dense(form: str) -> None:
    spectrum = torch.linspace(64, 1, 64, dtype=torch.float64)
    found = choices_of(site("fc1", 64, 256), analysis(spectrum), form)  # type: ignore[arg-type]
    assert found[-1] == Choice(None, 64 * 256, 0.0)
    for one in found[:-1]:
        assert one.rank is not None
        assert one.cost == parameters_of(64, 256, one.rank, form) < 64 * 256  # type: ignore[arg-type]
        assert one.loss == pytest.approx(float(spectrum[one.rank :].sum()))
    assert [one.rank for one in found[:-1]] == [16, 32, 48]


def test_latency_can_be_the_cost() -> None:
    found = choices_of(
        site("a", 64, 64),
        analysis(torch.ones(64, dtype=torch.float64)),
        "pair",
        cost=lambda _, rank: 5.0 if rank is None else rank / 8,
    )
    assert [(one.rank, one.cost) for one in found] == [(16, 2.0), (32, 4.0), (None, 5.0)]


@pytest.mark.parametrize("seed", range(12))
def test_budget_is_filled_as_the_best_of_all_combinations(seed: int) -> None:
    random = np.random.default_rng(seed)
    choices = {}
    for name in "abcd":
        costs = np.sort(random.choice(np.arange(1, 30), 4, replace=False))
        losses = np.sort(random.random(4))[::-1]
        losses[-1] = 0.0
        choices[name] = [
            Choice(index * 16, float(c), float(e)) for index, (c, e) in enumerate(zip(costs, losses, strict=True))
        ]
    least = sum(options[0].cost for options in choices.values())
    for budget in (least, least + 7.0, least + 25.0, 200.0):
        fitting = [
            several for several in itertools.product(*choices.values()) if sum(one.cost for one in several) <= budget
        ]
        best = min(sum(one.loss for one in several) for several in fitting)
        ranks = allocate(choices, budget)
        chosen = [next(one for one in choices[name] if one.rank == ranks[name]) for name in choices]
        assert sum(one.cost for one in chosen) <= budget
        assert sum(one.loss for one in chosen) == pytest.approx(best)


def test_coarse_units_keep_the_budget() -> None:
    random = np.random.default_rng(0)
    choices = {
        str(name): [Choice(k, 1000.0 * k + float(random.random()), 1.0 / k) for k in range(1, 20)] for name in range(10)
    }
    ranks = allocate(choices, 60_000.5, units=500)
    cost = sum(next(one.cost for one in choices[name] if one.rank == rank) for name, rank in ranks.items())
    assert 55_000 < cost <= 60_000.5


def test_a_budget_that_cannot_be_met_names_the_least() -> None:
    with pytest.raises(OptionError, match="cannot be met: the smallest ranks cost 12 already"):
        allocate({"a": [Choice(16, 5.0, 1.0)], "b": [Choice(16, 7.0, 1.0)]}, 11.0)
