"""The effect of other budgets, for a dry run and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from linnet.curation.gating import Gate
from linnet.curation.items import coverage_items
from linnet.curation.pool import Flags, Pool
from linnet.curation.select import SelectOptions, ask_gates, select_gated

SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Point:
    """The result of a budget: its share of the hours, and the covered share of the items of usable recordings."""

    share: float
    hours: float
    rows: int
    covered: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def other_budgets(
    pool: Pool, options: SelectOptions, more_gates: Sequence[Gate] = (), shares: tuple[float, ...] = SHARES
) -> list[Point]:
    """The balanced choice at each share, by what is scored already and with the same `more_gates`."""
    gated, points = ask_gates(pool, options, more_gates), []
    for share in shares:
        made = select_gated(pool, gated, replace(options, budget=replace(options.budget, keep=share, hours=None)))
        usable = made.weights > 0
        points.append(Point(share, made.hours, int(made.kept.sum()), covered(pool, made.kept, usable)))
    return points


def covered(pool: Pool, kept: Flags, usable: Flags) -> float:
    """The weighted share of the items of usable recordings (words, pairs of phones and units) in kept ones."""
    items = coverage_items(pool, usable)
    if not len(items.weights):
        return 0.0
    there, found = (np.zeros(len(items.weights), np.bool_) for _ in range(2))
    there[items.rows.select(np.flatnonzero(usable)).values] = True
    found[items.rows.select(np.flatnonzero(kept)).values] = True
    whole = float(items.weights[there].sum())
    return float(items.weights[found & there].sum()) / whole if whole else 0.0
