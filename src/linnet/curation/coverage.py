"""Choosing recordings that have what the ones chosen before lack, per second: exact greedy, by upper bounds.

Shapes: N recordings, V items (a word, a pair of phones, a pair of units, a speaker ...), B rows of a band.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from linnet.curation.pool import Flags, Integers, Numbers
from linnet.curation.ragged import Ragged

ONE = 2**40  # the unit of gains, which are whole numbers so that their sums have no order
NARROW, _WIDE = 4096, 2**16  # rows of a band
_SINGLE = 4  # rows whose gain is found one by one; often the next one is it
_FEW = 32  # rows whose gains are found at once after that


class Admission(Protocol):
    """Says which recordings may still be taken; one that may not be is closed for good."""

    def open_to(self, rows: NDArray[Any]) -> Flags:
        """Which of the rows may be taken now."""
        ...

    def take(self, row: int) -> None:
        """Count a row as taken."""
        ...


@dataclass(frozen=True, eq=False)
class Items:
    """What recordings have: `rows` of int32 item numbers, each once in a row, and the weight of each item [V]."""

    rows: Ragged
    weights: Numbers

    @classmethod
    def none(cls, count: int) -> Items:
        """Recordings that all have the same one item with a gain that does not fall."""
        return cls(Ragged.from_lengths(np.zeros(0, np.int32), np.zeros(count, np.int64)), np.zeros(0))


@dataclass(eq=False)
class Picks:
    """The rows that were taken, in their order, and the priority of each when it was taken."""

    rows: list[int] = field(default_factory=list)
    priorities: list[float] = field(default_factory=list)


class CoverageGreedy:
    """Takes the recordings with the greatest priority, one by one: gain / cost, where taking others lowers gains.

    The gain of x, after S was taken, is that of f(S) = sum over items u of w_u log2(1 + c_u(S)), c_u(S) being how many
    recordings of S have u: sum over u in x of w_u log2((2 + c_u) / (1 + c_u)). It can only fall, so that a priority
    found earlier bounds the present one: only rows whose bound is among the greatest are looked at again (lazy greedy,
    Minoux 1978), yet each row taken is the one with the greatest priority of all that are open, the first of equal
    ones. With a `tolerance` it is one whose priority is at most that share below the greatest, so that fewer are found
    again, and no less the same every time. `costs` [N] are positive. Without items every gain is 1: the order is that
    of 1 / cost.

    >>> items = Items(Ragged.from_lists([[0, 1], [0], [2]], np.int32), np.ones(3))
    >>> greedy = CoverageGreedy(items, np.ones(3))
    >>> greedy.run(np.ones(3, bool), Unlimited())
    >>> greedy.picks.rows
    [0, 2, 1]
    """

    def __init__(self, items: Items, costs: Numbers, tolerance: float = 0.0) -> None:
        self._tolerance = tolerance
        self._items = items.rows
        self._weights = items.weights
        self._counts = np.zeros(len(items.weights), np.int64)
        self._marginals = np.rint(ONE * items.weights).astype(np.int64)  # log2(2 / 1) is 1
        self._plain = not len(items.weights)
        self._costs = np.asarray(costs, np.float64)
        self._bounds = self._fresh(np.arange(len(costs)))
        self._taken = np.zeros(len(costs), np.bool_)
        self.picks = Picks()

    @property
    def taken(self) -> Flags:
        """Which rows were taken [N]."""
        return self._taken

    @property
    def priorities(self) -> Numbers:
        """The present priority of each row [N], taken ones too: what it would add once more."""
        return self._fresh(np.arange(len(self._costs)))

    def add(self, row: int, priority: float | None = None) -> None:
        """Take a row, whatever its priority."""
        self.picks.rows.append(row)
        self.picks.priorities.append(float(self._fresh(np.array([row]))[0]) if priority is None else priority)
        self._taken[row] = True
        items = self._items[row]
        if len(items):
            self._counts[items] += 1
            counts = self._counts[items]
            self._marginals[items] = np.rint(ONE * self._weights[items] * np.log2((counts + 2) / (counts + 1)))

    def run(self, candidates: Flags, admission: Admission) -> None:
        """Take rows among the candidates [N] until none of them may be taken."""
        waiting = candidates & ~self._taken
        width = NARROW
        while True:
            rows = np.flatnonzero(waiting)
            rows = rows[admission.open_to(rows)]
            waiting[:] = False
            waiting[rows] = True
            if not len(rows):
                return
            band, least = _greatest(rows, self._bounds, width)
            before = len(self.picks.rows)
            self._work(band, least, admission)
            waiting &= ~self._taken
            picked = len(self.picks.rows) - before
            width = min(width * 4, _WIDE) if not picked else max(width // 2, NARROW)

    def _work(self, rows: Integers, least: float, admission: Admission) -> None:
        """Take rows of a band as long as the greatest priority is `least` or more: no row outside has as much."""
        band = _Band(rows, self._items.select(rows), self._costs[rows], self._bounds[rows])
        while (at := band.best()) is not None and band.bounds[at] >= least:
            chosen = band.near(at, self._tolerance)
            if chosen is None:
                places = band.stale(at)
                band.renew(places, self._gains(band.items(places)))
            else:
                at = chosen
                row = rows[at]
                if admission.open_to(rows[at : at + 1])[0]:
                    self.add(int(row), float(band.bounds[at]))
                    admission.take(int(row))
                    band.outdate()
                band.remove(at)
        self._bounds[rows] = band.found

    def _fresh(self, rows: Integers) -> Numbers:
        """The present priorities of rows."""
        return np.concatenate(
            [
                self._gains(self._items.select(part)) / self._costs[part]
                for part in np.array_split(rows, max(1, len(rows) // NARROW))
            ]
        )

    def _gains(self, items: Ragged) -> Integers:
        if self._plain:
            return np.full(len(items), ONE, np.int64)
        if len(items) == 1:  # most often
            return np.array([self._marginals[items.values].sum()])
        gains: Integers = Ragged(self._marginals[items.values], items.offsets).sums()
        return gains


class _Band:
    """The rows that are worked on: their items, and bounds of their priorities, -inf for one that is gone."""

    def __init__(self, rows: Integers, items: Ragged, costs: Numbers, bounds: Numbers) -> None:
        self._items, self._costs, self.bounds = items, costs, bounds
        self.found = bounds.copy()  # the last bound of each, also of one that is gone
        self.fresh = np.zeros(len(rows), np.bool_)
        self._tries = 0

    def best(self) -> int | None:
        """The place of the greatest bound, the first of equal ones."""
        at = int(self.bounds.argmax())
        return None if self.bounds[at] == -np.inf else at

    def near(self, at: int, tolerance: float) -> int | None:
        """The place to take if the greatest bound is at `at`: that one, or a fresh one that is within the tolerance."""
        if self.fresh[at]:
            return at
        if not tolerance or not self._tries:
            return None
        best = int(np.where(self.fresh, self.bounds, -np.inf).argmax())
        return best if self.fresh[best] and self.bounds[best] >= (1 - tolerance) * self.bounds[at] else None

    def stale(self, at: int) -> Integers:
        """Places to find the gains of: one at first, then ever more of those with the greatest bounds."""
        self._tries += 1
        if self._tries <= _SINGLE:
            return np.array([at])
        few = _FEW << min(self._tries - _SINGLE, 20)
        if few >= len(self.bounds):
            chosen = np.flatnonzero(~self.fresh)
        else:
            chosen = self.bounds.argpartition(len(self.bounds) - few)[-few:]
            chosen = chosen[~self.fresh[chosen]]
        places: Integers = chosen[self.bounds[chosen] > -np.inf]
        return places

    def items(self, places: Integers) -> Ragged:
        """Their items."""
        if len(places) > 1:
            return self._items.select(places)
        values = self._items[int(places[0])]
        return Ragged(values, np.array([0, len(values)]))

    def renew(self, places: Integers, gains: Integers) -> None:
        """Present priorities in place of bounds."""
        self.bounds[places] = self.found[places] = gains / self._costs[places]
        self.fresh[places] = True

    def outdate(self) -> None:
        """A row was taken: what was found before is a bound."""
        self.fresh[:] = False
        self._tries = 0

    def remove(self, at: int) -> None:
        """A row that is not to be taken any more."""
        self.bounds[at] = -np.inf


class Unlimited:
    """Admits every row."""

    def open_to(self, rows: NDArray[Any]) -> Flags:
        """All of them."""
        return np.ones(len(rows), np.bool_)

    def take(self, row: int) -> None:
        """There is nothing to count."""


def _greatest(rows: Integers, bounds: Numbers, width: int) -> tuple[Integers, float]:
    """The rows with the greatest bounds, in their order, all that are equal to the least of them, and that least."""
    if len(rows) <= width:
        return rows, -np.inf
    mine = bounds[rows]
    least = float(np.partition(mine, len(rows) - width)[len(rows) - width])
    return rows[mine >= least], least
