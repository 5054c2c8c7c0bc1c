"""Choose recordings that add most to the earlier ones, per second: exact greedy selection by upper bounds.

Shapes: N recordings, V items (a word, a pair of phones, a pair of units, a speaker ...), B rows of a band.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from linnet.curation.pool import Flags, Integers, Numbers
from linnet.curation.ragged import Ragged

ONE = 2**40  # the unit of gains, which are integers so that their sums do not depend on order
NARROW, _WIDE = 4096, 2**16  # rows of a band
_SINGLE = 4  # rows whose gains are computed one by one; often the next one is the best
_FEW = 32  # rows whose gains are computed at once after that


class Admission(Protocol):
    """Decides which recordings may still be taken; an excluded one stays excluded."""

    def open_to(self, rows: NDArray[Any]) -> Flags:
        """Which of the rows may still be taken."""
        ...

    def admits(self, row: int) -> bool:
        """Whether this row may still be taken."""
        ...

    def take(self, row: int) -> None:
        """Count a row as taken."""
        ...


@dataclass(frozen=True, eq=False)
class Items:
    """The items of recordings: `rows` of int32 item numbers, unique within a row, and the weight of each item [V]."""

    rows: Ragged
    weights: Numbers

    @classmethod
    def none(cls, count: int) -> Items:
        """Recordings with one common item whose gain does not decrease."""
        return cls(Ragged.from_lengths(np.zeros(0, np.int32), np.zeros(count, np.int64)), np.zeros(0))


@dataclass(eq=False)
class Picks:
    """The rows taken, in order, and the priority of each when it was taken."""

    rows: list[int] = field(default_factory=list)
    priorities: list[float] = field(default_factory=list)


class CoverageGreedy:
    """Takes recordings one by one by the largest priority, gain / cost; each one taken lowers the gains of others.

    The gain of x, given S, is that of f(S) = sum over items u of w_u log2(1 + c_u(S)), where c_u(S) is the number of
    recordings in S with u: sum over u in x of w_u log2((2 + c_u) / (1 + c_u)). It never increases, so an earlier
    priority is an upper bound: only rows with the largest bounds are recomputed (lazy greedy, Minoux 1978), yet each
    row taken has the largest priority of all admitted rows, the first one for ties. With a `tolerance` its priority is
    at most this share below the largest, which needs fewer computations and is still deterministic. `costs` [N] are
    positive. Without items every gain is 1, and the order is that of 1 / cost.

    >>> items = Items(Ragged.from_lists([[0, 1], [0], [2]], np.int32), np.ones(3))
    >>> greedy = CoverageGreedy(items, np.ones(3))
    >>> greedy.run(np.ones(3, bool), Unlimited())
    >>> greedy.picks.rows
    [0, 2, 1]
    """

    def __init__(self, items: Items, costs: Numbers, tolerance: float = 0.0) -> None:
        self._tolerance = tolerance
        self._items = items.rows
        self._units = ONE * items.weights
        self._counts = np.zeros(len(items.weights), np.int64)
        self._marginals = np.rint(self._units).astype(np.int64)  # log2(2 / 1) is 1
        self._plain = not len(items.weights)
        self._costs = np.asarray(costs, np.float64)
        self._bounds = self._fresh(np.arange(len(costs)))
        self._taken = np.zeros(len(costs), np.bool_)
        self.picks = Picks()

    @property
    def taken(self) -> Flags:
        """Whether each row was taken [N]."""
        return self._taken

    @property
    def priorities(self) -> Numbers:
        """The current priority of each row [N], also of taken ones."""
        return self._fresh(np.arange(len(self._costs)))

    def add(self, row: int, priority: float | None = None) -> None:
        """Take a row regardless of its priority."""
        self.picks.rows.append(row)
        items = self._items[row]
        self.picks.priorities.append(self._gain(items) / float(self._costs[row]) if priority is None else priority)
        self._taken[row] = True
        if len(items):
            counts = self._counts.take(items) + 1
            self._counts[items] = counts
            self._marginals[items] = np.rint(self._units.take(items) * np.log2((counts + 2) / (counts + 1)))

    def run(self, candidates: Flags, admission: Admission) -> None:
        """Take rows among the candidates [N] until none may be taken."""
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
        """Take rows of a band while the largest priority is at least `least`: no row outside has more."""
        band = _Band(rows, self._items.select(rows), self._costs[rows], self._bounds[rows])
        while (at := band.best()) is not None and band.bounds[at] >= least:
            chosen = band.near(at, self._tolerance)
            if chosen is None and band.is_begun:
                band.renew_one(at, self._gain(band.items(at)))
            elif chosen is None:
                places = band.stale()
                band.renew(places, self._gains(band.items_of(places)))
            else:
                row = int(rows[chosen])
                if admission.admits(row):
                    self.add(row, float(band.bounds[chosen]))
                    admission.take(row)
                    band.outdate()
                band.remove(chosen)
        self._bounds[rows] = band.found

    def _fresh(self, rows: Integers) -> Numbers:
        """The current priorities of rows."""
        return np.concatenate(
            [
                self._gains(self._items.select(part)) / self._costs[part]
                for part in np.array_split(rows, max(1, len(rows) // NARROW))
            ]
        )

    def _gains(self, items: Ragged) -> Integers:
        if self._plain:
            return np.full(len(items), ONE, np.int64)
        gains: Integers = Ragged(self._marginals[items.values], items.offsets).sums()
        return gains

    def _gain(self, items: NDArray[np.int32]) -> int:
        """The gain of one row with these items."""
        return ONE if self._plain else int(self._marginals.take(items).sum())


class _Band:
    """The rows under consideration: their items and priority bounds, -inf for removed ones."""

    def __init__(self, rows: Integers, items: Ragged, costs: Numbers, bounds: Numbers) -> None:
        self._items, self._offsets = items, items.offsets.tolist()
        self._costs, self.bounds = costs, bounds
        self.found = bounds.copy()  # the last bound of each, also of removed ones
        self.fresh = np.zeros(len(rows), np.bool_)
        self._tries = 0

    def best(self) -> int | None:
        """The index of the largest bound, the first one for ties."""
        at = int(self.bounds.argmax())
        return None if self.bounds[at] == -np.inf else at

    def near(self, at: int, tolerance: float) -> int | None:
        """The index to take if the largest bound is at `at`: this one, or a fresh one within the tolerance."""
        if self.fresh[at]:
            return at
        if not tolerance or not self._tries:
            return None
        best = int(np.where(self.fresh, self.bounds, -np.inf).argmax())
        return best if self.fresh[best] and self.bounds[best] >= (1 - tolerance) * self.bounds[at] else None

    @property
    def is_begun(self) -> bool:
        """Whether gains are to be computed one by one, as for the first few after a row was taken."""
        return self._tries < _SINGLE

    def stale(self) -> Integers:
        """Indices whose gains to compute: ever more of those with the largest bounds."""
        self._tries += 1
        few = _FEW << min(self._tries - _SINGLE, 20)
        if few >= len(self.bounds):
            chosen = np.flatnonzero(~self.fresh)
        else:
            chosen = self.bounds.argpartition(len(self.bounds) - few)[-few:]
            chosen = chosen[~self.fresh[chosen]]
        places: Integers = chosen[self.bounds[chosen] > -np.inf]
        return places

    def items(self, at: int) -> NDArray[np.int32]:
        """The items of one row."""
        found: NDArray[np.int32] = self._items.values[self._offsets[at] : self._offsets[at + 1]]
        return found

    def items_of(self, places: Integers) -> Ragged:
        """The items of several rows."""
        return self._items.select(places)

    def renew_one(self, at: int, gain: int) -> None:
        """Replace the bound of one row by its current priority."""
        self._tries += 1
        self.bounds[at] = self.found[at] = gain / self._costs[at]
        self.fresh[at] = True

    def renew(self, places: Integers, gains: Integers) -> None:
        """Replace bounds by current priorities."""
        self.bounds[places] = self.found[places] = gains / self._costs[places]
        self.fresh[places] = True

    def outdate(self) -> None:
        """Mark earlier priorities as bounds, since a row was taken."""
        self.fresh[:] = False
        self._tries = 0

    def remove(self, at: int) -> None:
        """Remove a row."""
        self.bounds[at] = -np.inf


class Unlimited:
    """Admits every row."""

    def open_to(self, rows: NDArray[Any]) -> Flags:
        """All rows."""
        return np.ones(len(rows), np.bool_)

    def admits(self, row: int) -> bool:  # noqa: ARG002  an Admission's
        """Every row."""
        return True

    def take(self, row: int) -> None:
        """Nothing to count."""


def _greatest(rows: Integers, bounds: Numbers, width: int) -> tuple[Integers, float]:
    """The rows with the largest bounds, in order, including all ties with the smallest of them, and this smallest
    bound."""
    if len(rows) <= width:
        return rows, -np.inf
    mine = bounds[rows]
    least = float(np.partition(mine, len(rows) - width)[len(rows) - width])
    return rows[mine >= least], least
