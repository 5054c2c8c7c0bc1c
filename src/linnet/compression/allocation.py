"""Which rank each layer gets: LiteASR's rule by shares of variance, or one budget for all layers by what they cost.

A budget is filled exactly: of all combinations of ranks in steps, the one that loses least within it (a multiple-choice
knapsack by dynamic programming). Costs are counted in units, which keeps the table small; they are rounded up, so the
budget holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from linnet.compression.factors import Analysis
from linnet.compression.sites import Site
from linnet.errors import OptionError
from linnet.models.lowrank.layers import Form, parameters_of

STEP = 16
UNITS = 20_000  # of a budget
PRESETS = {"acc": (0.999, 0.999), "balanced": (0.99, 0.999), "fast": (0.99, 0.995)}  # the paper's, section 4.1

Ranks = dict[str, int | None]  # None: dense
Cost = Callable[[Site, int | None], float]


@dataclass(frozen=True)
class Choice:
    """One way to make a layer: its rank (None is dense), what it costs (parameters, or time), what it loses."""

    rank: int | None
    cost: float
    loss: float


# --- LiteASR's rule


def threshold_rank(energies: Tensor, threshold: float, *, step: int = STEP) -> int | None:
    """The smallest multiple of `step` whose directions carry more than this share of the variance; None: no such."""
    carried = np.cumsum(energies.numpy())
    for rank in range(step, len(carried) + 1, step):
        if carried[rank - 1] > threshold * carried[-1]:
            return rank
    return None


def check_thresholds(*shares: float) -> None:
    """Raise `OptionError` for a share of the variance that is none."""
    for share in shares:
        if not 0.0 < share <= 1.0:
            raise OptionError(f"a threshold is a share of the variance, above 0 and at most 1; got {share:g}")


def by_threshold(
    sites: Sequence[Site], analyses: Mapping[str, Analysis], attention: float, mlp: float, *, step: int = STEP
) -> Ranks:
    """Ranks by shares of variance, for attention and for the MLP (LiteASR, equations 6 to 8).

    A layer stays dense where its rank is more than 0.5 of the narrower width in attention, 0.8 of it in the MLP, and
    where no multiple of the step carries the share. Raises `OptionError` for shares that are not between 0 and 1.
    """
    check_thresholds(attention, mlp)
    ranks: Ranks = {}
    for site in sites:
        rank = threshold_rank(analyses[site.name].energies, attention if site.kind == "attention" else mlp, step=step)
        most = (0.5 if site.kind == "attention" else 0.8) * min(site.inputs, site.outputs)
        ranks[site.name] = None if rank is None or rank > most else rank
    return ranks


# --- one budget


def choices_of(
    site: Site,
    analysis: Analysis,
    form: Form,
    *,
    step: int = STEP,
    cost: Cost | None = None,
) -> list[Choice]:
    """All ranks of a layer that cost less than it does dense, and the dense layer. `cost` is by default parameters."""
    price = cost or (
        lambda one, rank: one.weights if rank is None else parameters_of(one.inputs, one.outputs, rank, form)
    )
    dense = Choice(None, float(price(site, None)), 0.0)
    found = []
    for rank in range(step, len(analysis.energies) + 1, step):
        made = Choice(rank, float(price(site, rank)), analysis.loss(rank))
        if made.cost < dense.cost and rank < min(site.inputs, site.outputs):
            found.append(made)
    return [*found, dense]


def least_cost(choices: Mapping[str, Sequence[Choice]]) -> float:
    """What the cheapest choice of every layer costs together."""
    return sum(min(one.cost for one in options) for options in choices.values())


def allocate(choices: Mapping[str, Sequence[Choice]], budget: float, *, units: int = UNITS) -> Ranks:
    """One choice for each layer, of least loss together, whose costs come to at most `budget`.

    Raises `OptionError` with the least possible cost where there is none.
    """
    least = least_cost(choices)
    if least > budget:
        raise OptionError(f"the budget of {budget:,.0f} cannot be met: the smallest ranks cost {least:,.0f} already")
    unit = max(budget / units, _grain(choices, budget, units))
    capacity = int(budget / unit + 1e-9)
    best = np.zeros(capacity + 1)  # least loss at most at this cost
    picks: list[tuple[str, Sequence[Choice], np.ndarray]] = []
    for name, options in choices.items():
        best, pick = _with_layer(best, options, unit)
        picks.append((name, options, pick))
    if not np.isfinite(best[-1]):  # rounding up left no room
        return {name: min(options, key=lambda one: one.cost).rank for name, options in choices.items()}
    ranks: Ranks = {}
    left = capacity
    for name, options, pick in reversed(picks):
        chosen = options[int(pick[left])]
        ranks[name] = chosen.rank
        left -= _units(chosen.cost, unit)
    return {name: ranks[name] for name in choices}


def _with_layer(best: np.ndarray, options: Sequence[Choice], unit: float) -> tuple[np.ndarray, np.ndarray]:
    """The least losses with one more layer, and which of its options gives each."""
    after = np.full(len(best), np.inf)
    pick = np.zeros(len(best), np.int32)
    for index, option in enumerate(options):
        size = _units(option.cost, unit)
        if size >= len(best):
            continue
        loss = best[: len(best) - size] + option.loss
        better = loss < after[size:]
        after[size:][better] = loss[better]
        pick[size:][better] = index
    return after, pick


def _units(cost: float, unit: float) -> int:
    return int(np.ceil(cost / unit - 1e-9))


def _grain(choices: Mapping[str, Sequence[Choice]], budget: float, units: int) -> float:
    """The largest step of which all costs are multiples, where they are whole numbers and it is not too small."""
    costs = [one.cost for options in choices.values() for one in options]
    if any(cost != int(cost) for cost in costs):
        return budget / units
    common = int(np.gcd.reduce([int(cost) for cost in costs]))
    return float(common) if common and budget / common <= units else budget / units
