"""What a choice has to beat: chance, chance with the same lengths, the longest, the shortest, a score alone.

Shapes: N recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.budget import Cap, Ledger, allocate
from linnet.curation.pool import Flags, Labels, Numbers
from linnet.settings import unknown

ORDERS = ("random", "longest", "shortest", "highest", "lowest")


def in_order(kind: str, seconds: Numbers, seed: int = 0, score: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """All rows [N] in an order of `ORDERS`; `highest` and `lowest` are of the `score` [N], NaN last.

    Equal ones come in a random order, too. Raises `ValueError` for an order that is not known or has no score.
    """
    shuffled = np.random.default_rng(seed).permutation(len(seconds))
    if kind == "random":
        return shuffled
    if kind in ("longest", "shortest"):
        keys = -seconds if kind == "longest" else seconds
    elif kind in ("highest", "lowest") and score is not None:
        keys = np.nan_to_num(-score if kind == "highest" else score, nan=np.inf)
    else:
        raise ValueError(unknown("order", kind, ORDERS) if score is not None else f"{kind} needs a score")
    return shuffled[np.argsort(keys[shuffled], kind="stable")]


def take(order: NDArray[np.int64], seconds: Numbers, budget: float, usable: Flags, caps: Sequence[Cap] = ()) -> Flags:
    """Which rows are taken [N] when those that fit into the budget (seconds) and the caps are taken in an order."""
    ledger = Ledger(seconds, budget, caps)
    taken = np.zeros(len(seconds), np.bool_)
    for row in order.tolist():
        if usable[row] and ledger.open_to(np.array([row]))[0]:
            ledger.take(row)
            taken[row] = True
    return taken


def stratified_random(strata: Labels, seconds: Numbers, budget: float, usable: Flags, seed: int = 0) -> Flags:
    """By chance within each stratum, each having the share of the budget that it has of the usable hours."""
    labels = Labels(strata.codes + 1, ("", *strata.names))  # those without a name are a stratum, too
    limits = allocate(labels.sums(np.where(usable, seconds, 0.0)), budget)
    order = in_order("random", seconds, seed)
    whole = take(order, seconds, budget, usable, [Cap("stratum", labels, limits, seconds)])
    return _filled(whole, order, seconds, budget, usable)


def duration_matched(kept: Flags, seconds: Numbers, usable: Flags, seed: int = 0) -> Flags:
    """By chance, with as many seconds of each length (eighth octaves) as a choice `kept` [N] has.

    What a choice is better at than this one is not its lengths.
    """
    steps = np.floor(8 * np.log2(np.maximum(seconds, 1e-3))).astype(np.int64)
    codes = (steps - steps.min(initial=0)).astype(np.int32)
    labels = Labels(codes, tuple(str(at) for at in range(int(codes.max(initial=0)) + 1)))
    limits = labels.sums(np.where(kept, seconds, 0.0))
    order = in_order("random", seconds, seed)
    budget = float(seconds[kept].sum())
    short = take(order, seconds, budget, usable, [Cap("length", labels, limits, seconds)])
    return _filled(short, order, seconds, budget, usable)


def _filled(taken: Flags, order: NDArray[np.int64], seconds: Numbers, budget: float, usable: Flags) -> Flags:
    """With what the caps' last seconds had no room for."""
    left = budget - float(seconds[taken].sum())
    return taken | take(order, seconds, left, usable & ~taken)
