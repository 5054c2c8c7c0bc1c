"""The effect of more hours: the coverage of a pool by the first recordings of an order, by hours.

Shapes: N recordings, V items, P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnet.curation.budget import HOUR
from linnet.curation.coverage import Items
from linnet.curation.pool import Integers, Numbers


@dataclass(frozen=True, eq=False)
class Frontier:
    """Coverage by hours, [P + 1] each, from none to all of an order.

    `kinds` is the covered share of the pool's distinct items, `uses` the covered share of their occurrences: a common
    item counts once in the first and often in the second. `gain` is f(S) of the greedy selection.
    """

    hours: Numbers
    recordings: Integers
    kinds: Numbers
    uses: Numbers
    gain: Numbers

    def at(self, hours: float) -> tuple[float, float]:
        """Kinds and uses after this number of hours, interpolated linearly."""
        return float(np.interp(hours, self.hours, self.kinds)), float(np.interp(hours, self.hours, self.uses))


def frontier(items: Items, order: Integers, seconds: Numbers, points: int = 50) -> Frontier:
    """The frontier of recordings in an order: that of a selection, or another one for comparison.

    `order` are rows, `seconds` [N] durations. The points are equidistant in hours.
    """
    hours = np.concatenate([[0.0], np.cumsum(seconds[order])]) / HOUR
    uses = np.bincount(items.rows.values, minlength=len(items.weights)).astype(np.float64)
    counts = np.zeros(len(items.weights), np.int64)
    chosen = np.unique(np.searchsorted(hours, np.linspace(0.0, hours[-1], points + 1), "left"))
    chosen = np.union1d(np.minimum(chosen, len(order)), [0, len(order)])
    kinds, used, gains = [0.0], [0.0], [0.0]
    for first, last in zip(chosen[:-1].tolist(), chosen[1:].tolist(), strict=True):
        counts += np.bincount(items.rows.select(order[first:last]).values, minlength=len(counts))
        covered = counts > 0
        kinds.append(float(covered.sum()) / max(len(counts), 1))
        used.append(float(uses[covered].sum()) / max(float(uses.sum()), 1.0))
        gains.append(float((items.weights * np.log2(1.0 + counts)).sum()))
    return Frontier(hours[chosen], chosen, np.array(kinds), np.array(used), np.array(gains))
