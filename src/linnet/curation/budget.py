"""Budgets of hours: allocation to languages, floors and caps of strata, and a ledger of selected hours.

Shapes: N recordings, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.pool import Flags, Labels, Numbers
from linnet.settings import NOT_NEGATIVE, SHARE, ValueRule, require

HOUR = 3600.0  # seconds
_SLACK = 1e-6  # seconds: tolerance for sums of floats
_HALVINGS = 200

_ABOVE_ONE = ValueRule("1 or more", lambda value: value >= 1)


@dataclass(frozen=True)
class StratumOptions:
    """Floor and cap of each group of one kind, such as each speaker.

    At least `floor_hours` and `floor_share` (of the group's usable hours), whichever is larger, are kept, as far as
    available. At most `cap_hours` and `cap_share` (of the budget) are kept.
    """

    floor_hours: float = 0.0
    floor_share: float = 0.0
    cap_hours: float | None = None
    cap_share: float | None = None

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "floor_hours")
        require(self, SHARE, "floor_share")
        if self.cap_hours is not None:
            require(self, NOT_NEGATIVE, "cap_hours")
        if self.cap_share is not None:
            require(self, SHARE, "cap_share")


@dataclass(frozen=True)
class BudgetOptions:
    """The budget of hours and its allocation.

    `hours`, or else the share `keep` of all readable hours. Languages get hours in proportion to their usable hours to
    the power of 1 / `temperature`: 1 keeps the proportions, higher values favor smaller languages; unused hours go to
    the others. At most `same_text` recordings of one text are kept (0: any number), for texts long enough not to be
    equal by chance.
    """

    keep: float = 0.2
    hours: float | None = None
    temperature: float = 2.0
    same_text: int = 25
    language: StratumOptions = StratumOptions()
    domain: StratumOptions = StratumOptions()
    speaker: StratumOptions = StratumOptions()
    source: StratumOptions = StratumOptions()

    def __post_init__(self) -> None:
        require(self, SHARE, "keep")
        require(self, _ABOVE_ONE, "temperature")
        require(self, NOT_NEGATIVE, "same_text")
        if self.hours is not None:
            require(self, NOT_NEGATIVE, "hours")

    def seconds(self, readable: float) -> float:
        """The budget in seconds, for this number of readable seconds."""
        return self.keep * readable if self.hours is None else min(self.hours * HOUR, readable)


@dataclass(frozen=True, eq=False)
class Cap:
    """The maximum of each group: `limits` [G] for the sums of `amounts` [N] of its recordings (seconds, or ones to
    count them)."""

    name: str
    labels: Labels
    limits: Numbers
    amounts: Numbers


@dataclass(frozen=True, eq=False)
class Floor:
    """The minimum of each group in seconds, `needs` [G]."""

    name: str
    labels: Labels
    needs: Numbers


def allocate(available: Numbers, budget: float, temperature: float = 1.0, least: Numbers | None = None) -> Numbers:
    """Seconds of each group [G] in proportion to available ** (1 / temperature), not more than available.

    They sum to the budget, or to everything available if that is less. `least` [G] is allocated first; if it exceeds
    the budget, only it is allocated, in proportion.

    >>> allocate(np.array([900.0, 100.0, 4.0]), 400.0, temperature=2.0).tolist()
    [297.0, 99.0, 4.0]
    """
    available = np.asarray(available, np.float64)
    low = np.minimum(0.0 if least is None else least, available) + np.zeros(len(available))
    if low.sum() >= budget:
        return low * (budget / low.sum()) if low.sum() > 0 else low
    if available.sum() <= budget:
        return available
    shares = np.where(available > 0, available ** (1.0 / temperature), 0.0)

    def at(level: float) -> Numbers:
        return np.clip(level * shares, low, available)

    below, above = 0.0, float((available[shares > 0] / shares[shares > 0]).max())
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        if middle in (below, above):
            break
        below, above = (middle, above) if at(middle).sum() <= budget else (below, middle)
    return _rounded(at(below), at(above), budget)


def _rounded(below: Numbers, above: Numbers, budget: float) -> Numbers:
    """Adjust within rounding errors, so that the sum equals the budget."""
    free = below < above
    if free.any():
        below = below + np.where(free, (budget - below.sum()) / free.sum(), 0.0)
    return below


class Ledger:
    """Tracks selected recordings, and whether a further one fits the budget and all caps.

    `seconds` [N] are the durations of the recordings.
    """

    def __init__(self, seconds: Numbers, budget: float, caps: Sequence[Cap] = ()) -> None:
        self.seconds = seconds
        self.budget = budget
        self.caps = list(caps)
        self.spent = 0.0
        self._used = [np.zeros(len(cap.limits)) for cap in self.caps]

    def open_to(self, rows: NDArray[Any]) -> Flags:
        """Which of the rows may still be taken."""
        within: Flags = self.spent + self.seconds[rows] <= self.budget + _SLACK
        return within & (self.first_caps(rows) < 0)

    def admits(self, row: int) -> bool:
        """Whether this row may still be taken."""
        return self.blocker(row) is None

    def blocker(self, row: int) -> str | None:
        """The name of the cap that excludes a row, `budget` for the total hours; None if it may be taken."""
        for cap, used in zip(self.caps, self._used, strict=True):
            code = cap.labels.codes[row]
            if code >= 0 and used[code] + cap.amounts[row] > cap.limits[code] + _SLACK:
                return cap.name
        return "budget" if self.spent + self.seconds[row] > self.budget + _SLACK else None

    def first_caps(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """The index in `caps` of the first one that excludes each row, -1 where none does."""
        first = np.full(len(rows), -1)
        for at in reversed(range(len(self.caps))):
            cap, used = self.caps[at], self._used[at]
            codes = cap.labels.codes[rows]
            if len(used):
                first[(codes >= 0) & (used[codes] + cap.amounts[rows] > cap.limits[codes] + _SLACK)] = at
        return first

    def take(self, row: int) -> None:
        """Count a row as taken."""
        self.spent += float(self.seconds[row])
        for cap, used in zip(self.caps, self._used, strict=True):
            code = cap.labels.codes[row]
            if code >= 0:
                used[code] += cap.amounts[row]

    def add_cap(self, cap: Cap, taken: NDArray[Any]) -> None:
        """Add a cap, counting rows taken earlier."""
        self.caps.append(cap)
        codes = cap.labels.codes[taken]
        named = codes >= 0
        used = np.bincount(codes[named], cap.amounts[taken][named], minlength=len(cap.limits))
        self._used.append(used.astype(np.float64))

    def drop_cap(self, name: str) -> None:
        """Remove the cap with this name."""
        kept = [at for at, cap in enumerate(self.caps) if cap.name != name]
        self.caps, self._used = [self.caps[at] for at in kept], [self._used[at] for at in kept]


class FloorLedger:
    """A ledger on top of another one that only admits recordings of groups below their floor.

    `taken` are the rows taken earlier.
    """

    def __init__(self, ledger: Ledger, floors: Sequence[Floor], taken: NDArray[Any]) -> None:
        self._ledger = ledger
        self._floors = [floor for floor in floors if len(floor.needs)]
        amounts = np.zeros(len(ledger.seconds))
        amounts[taken] = ledger.seconds[taken]
        self._missing = [floor.needs - floor.labels.sums(amounts) for floor in self._floors]

    def open_to(self, rows: NDArray[Any]) -> Flags:
        """Which of the rows may still be taken."""
        wanted = np.zeros(len(rows), np.bool_)
        for floor, missing in zip(self._floors, self._missing, strict=True):
            codes = floor.labels.codes[rows]
            wanted |= (codes >= 0) & (missing[codes] > _SLACK)
        return wanted & self._ledger.open_to(rows)

    def admits(self, row: int) -> bool:
        """Whether this row may still be taken."""
        return bool(self.open_to(np.array([row]))[0])

    def take(self, row: int) -> None:
        """Count a row as taken."""
        self._ledger.take(row)
        for floor, missing in zip(self._floors, self._missing, strict=True):
            code = floor.labels.codes[row]
            if code >= 0:
                missing[code] -= self._ledger.seconds[row]

    @property
    def unmet(self) -> list[tuple[str, str, float]]:
        """Unmet floors: the kind of group, its name, and the missing seconds."""
        return [
            (floor.name, floor.labels.names[at], float(missing[at]))
            for floor, missing in zip(self._floors, self._missing, strict=True)
            for at in np.flatnonzero(missing > _SLACK).tolist()
        ]
