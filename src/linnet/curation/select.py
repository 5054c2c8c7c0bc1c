"""The balanced selection: usable recordings, in order of their additional gain per second, within the budget.

Shapes: N recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.budget import HOUR, BudgetOptions, Cap, Floor, FloorLedger, Ledger, allocate
from linnet.curation.coverage import Admission, CoverageGreedy, Items
from linnet.curation.duplicates import DuplicateOptions, NearSound, SameSound, text_keys
from linnet.curation.gates import GateOptions, Unreadable, gates_of
from linnet.curation.gating import Gate, Gated, run_gates
from linnet.curation.items import CoverageOptions, coverage_items, same_text
from linnet.curation.pool import STRATA, Flags, Integers, Numbers, Pool
from linnet.curation.selection import BUDGET, CAP, COVERAGE, FLOOR, RESCUE, SCORE, THRESHOLD, Notices, Selection
from linnet.data.duplicates.texts import SHORTEST
from linnet.settings import NOT_NEGATIVE, SHARE, require

_ALLOCATION = "language hours"
_SHORTEST = 0.02  # minimum seconds that a recording counts as
_NO_WORTH = 1e-9  # of a score of zero
_TOGETHER = 4096  # rows that are asked for at once; one that may not be taken will not be later


@dataclass(frozen=True)
class ValueOptions:
    """The weights of the components, and of their combined value relative to coverage.

    The gain is multiplied by 2 ** (strength * (2 v - 1)), v being the weighted mean of the components, each from 0 to
    1: at 1 the most valued recording counts four times as much as the least.
    """

    weights: dict[str, float] = field(
        default_factory=lambda: {
            "h_acoustic": 1.0,
            "novelty": 1.0,
            "h_phonetic": 1.0,
            "s_phonetic": 1.0,
            "s_linguistic": 1.0,
            "error_relevance": 2.0,
        }
    )
    strength: float = 0.5

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "strength")


@dataclass(frozen=True)
class SelectOptions:
    """All options of the balanced selection.

    The share `rescue` of the budget goes to usable recordings by a hash of id and `seed`, regardless of scores, so that
    a wrong rule never excludes anything completely.
    """

    gates: GateOptions = field(default_factory=GateOptions)
    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)
    coverage: CoverageOptions = field(default_factory=CoverageOptions)
    value: ValueOptions = field(default_factory=ValueOptions)
    budget: BudgetOptions = field(default_factory=BudgetOptions)
    rescue: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, SHARE, "rescue")


def select(pool: Pool, options: SelectOptions | None = None, more_gates: Sequence[Gate] = ()) -> Selection:
    """Choose recordings; each has a reason why it is kept or not. The same pool and options yield the same selection.

    `more_gates` are applied last, such as `Leak`. Unfilled budgets and unmet floors are reported in the selection's
    notices.
    """
    options = options or SelectOptions()
    return select_gated(pool, ask_gates(pool, options, more_gates), options)


def ask_gates(pool: Pool, options: SelectOptions, more_gates: Sequence[Gate] = ()) -> Gated:
    """Ask all gates of the options, and `more_gates` after them."""
    return run_gates(pool, [*gates_of(options.gates), *duplicate_gates(options.duplicates), *more_gates])


def select_gated(pool: Pool, gated: Gated, options: SelectOptions) -> Selection:
    """Choose among what has passed the gates already."""
    usable = gated.usable
    budget = options.budget.seconds(float(pool.seconds.sum()))
    items = coverage_items(pool, usable, options.coverage)
    greedy = CoverageGreedy(items, _costs(pool, options), options.coverage.tolerance)
    choice = _Choice(pool, options, usable, budget, greedy)
    choice.fill()
    return Selection.of(pool, gated, choice.fates, greedy, choice.notices, budget)


def select_by_score(pool: Pool, score: NDArray[Any], kept: Flags, gates: Sequence[Gate] = (Unreadable(),)) -> Selection:
    """The selection by a rule based on scores only, such as HEEP's threshold: `kept` [N], ranked by `score` [N].

    Recordings that fail a gate are not kept. Ties are in the order of the rows; NaN is last. A sampling weight is
    relative to the smallest kept score.
    """
    gated = run_gates(pool, gates)
    worth = np.maximum(np.nan_to_num(np.asarray(score, np.float64)), _NO_WORTH)
    greedy = CoverageGreedy(Items.none(len(pool)), 1.0 / worth)
    rows = np.flatnonzero(kept & gated.usable)
    for row in rows[np.argsort(-worth[rows], kind="stable")].tolist():
        greedy.add(row)
    fates = np.where(greedy.taken, SCORE, THRESHOLD).astype(np.int16)
    return Selection.of(pool, gated, fates, greedy, Notices(), float(pool.seconds[rows].sum()))


def values(pool: Pool, options: ValueOptions) -> tuple[Numbers, tuple[str, ...]]:
    """The weighted mean of the components [N], 0.5 if a recording has none, and the existing components."""
    names = tuple(name for name, weight in options.weights.items() if weight > 0 and name in pool.scores)
    total, weight = np.zeros(len(pool)), np.zeros(len(pool))
    for name in names:
        scores = np.asarray(pool.scores[name], np.float64)
        known = ~np.isnan(scores)
        total += options.weights[name] * np.where(known, scores, 0.0)
        weight += options.weights[name] * known
    return np.where(weight > 0, total / np.maximum(weight, 1e-12), 0.5), names


def hashed_order(ids: NDArray[np.object_], rows: Integers, seed: int) -> Integers:
    """Rows in an order that depends only on their ids and the seed."""
    keys = [blake2b(f"{seed} {ids[row]}".encode("utf-8", "surrogatepass"), digest_size=8).digest() for row in rows]
    order: Integers = np.lexsort((rows, np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)))
    return rows[order]


def take_in_order(greedy: CoverageGreedy, order: Integers, admission: Admission) -> None:
    """Take rows one after another while they are admitted."""
    for at in range(0, len(order), _TOGETHER):
        some = order[at : at + _TOGETHER]
        for row in some[admission.open_to(some) & ~greedy.taken[some]].tolist():
            if admission.admits(row):
                greedy.add(row)
                admission.take(row)


def duplicate_gates(options: DuplicateOptions) -> list[Gate]:
    """The gates that drop duplicates."""
    gates: list[Gate] = [SameSound()] if options.exact else []
    if any(one is not None for one in (options.near, options.near_same_text, options.near_contour)):
        gates.append(NearSound(options))
    return gates


def _costs(pool: Pool, options: SelectOptions) -> Numbers:
    value, _ = values(pool, options.value)
    seconds = np.maximum(pool.seconds, _SHORTEST)
    return np.asarray(seconds**options.coverage.duration_power / 2.0 ** (options.value.strength * (2 * value - 1)))


class _Choice:
    """A selection in progress: floors first, then the hours of each language, then the rest, then rescued ones."""

    def __init__(
        self, pool: Pool, options: SelectOptions, usable: Flags, budget: float, greedy: CoverageGreedy
    ) -> None:
        self._pool, self._options, self._usable = pool, options, usable
        self._budget, self._greedy = budget, greedy
        self.notices = Notices()
        self.fates = np.full(len(pool), -1, np.int16)
        self._hours = np.where(usable, pool.seconds, 0.0)
        self._ledger = Ledger(self._hours, budget * (1 - options.rescue), self._caps())

    def fill(self) -> None:
        """Select recordings and assign a fate to every usable one."""
        available, asked = float(self._hours.sum()), self._options.budget.hours
        wanted = self._budget if asked is None else asked * HOUR
        if available < wanted * (1 - 1e-9):
            self.notices.say(f"{available / HOUR:.2f} hours are usable, less than the budget of {wanted / HOUR:.2f}")
            self._ledger.budget = self._budget
        self._floors()
        self._phase(COVERAGE, self._languages())
        self._rescue()
        left = np.flatnonzero(self._usable & ~self._greedy.taken)
        capped = [CAP[cap.name] for cap in self._ledger.caps]
        self.fates[left] = np.array([*capped, BUDGET], np.int16)[self._ledger.first_caps(left)]
        spent = self._ledger.spent
        if spent < 0.995 * min(self._budget, available):
            why = "caps keep out the rest" if self._capped() else "what is left is longer"
            self.notices.say(f"{spent / HOUR:.3f} of {self._budget / HOUR:.3f} hours are filled: {why}")

    def _capped(self) -> bool:
        return bool(np.isin(self.fates, list(CAP.values())).any())

    def _phase(self, fate: int, capped: bool) -> None:
        """Greedy selection within the languages' hours, then without them for unused hours."""
        self._run(fate, self._ledger)
        if capped:
            self._ledger.drop_cap(_ALLOCATION)
            self._run(fate, self._ledger)

    def _run(self, fate: int, admission: Admission) -> None:
        self._greedy.run(self._usable.copy(), admission)
        self.fates[self._greedy.taken & (self.fates < 0)] = fate

    def _caps(self) -> list[Cap]:
        caps = []
        for kind in STRATA:
            options = getattr(self._options.budget, kind)
            limits = [one for one in (options.cap_hours, options.cap_share) if one is not None]
            if limits:
                hours = np.inf if options.cap_hours is None else options.cap_hours * HOUR
                share = np.inf if options.cap_share is None else options.cap_share * self._budget
                labels = self._pool.strata(kind)
                caps.append(Cap(kind, labels, np.full(len(labels.names), min(hours, share)), self._hours))
        most = self._options.budget.same_text
        if most:
            labels = same_text(text_keys(self._pool.words), self._usable & (self._pool.characters >= SHORTEST))
            caps.append(Cap("text", labels, np.full(len(labels.names), float(most)), np.ones(len(self._pool))))
        return caps

    def _floors(self) -> None:
        floors = []
        for kind in STRATA:
            options = getattr(self._options.budget, kind)
            if options.floor_hours or options.floor_share:
                labels = self._pool.strata(kind)
                own = labels.sums(self._hours)
                needs = np.minimum(np.maximum(options.floor_hours * HOUR, options.floor_share * own), own)
                floors.append(Floor(kind, labels, needs))
        if not floors:
            return
        ledger = FloorLedger(self._ledger, floors, np.flatnonzero(self._greedy.taken))
        self._run(FLOOR, ledger)
        for kind, name, missing in ledger.unmet:
            self.notices.say(
                f"the floor of the {kind} {name} is {missing / HOUR:.3f} hours short: the budget or a cap ends it"
            )

    def _languages(self) -> bool:
        """Allocate hours to each language; recordings without a language are only limited by the budget."""
        labels = self._pool.labels["language"]
        if len(labels.names) < 2:
            return False
        taken = np.flatnonzero(self._greedy.taken)
        given = np.zeros(len(self._pool))
        given[taken] = self._hours[taken]
        nameless = float(self._hours[labels.codes < 0].sum())
        shared = self._ledger.budget * (1 - nameless / max(float(self._hours.sum()), 1e-9))
        hours = allocate(labels.sums(self._hours), shared, self._options.budget.temperature, least=labels.sums(given))
        self._ledger.add_cap(Cap(_ALLOCATION, labels, hours, self._hours), taken)
        return True

    def _rescue(self) -> None:
        self._ledger.budget = self._budget
        left = np.flatnonzero(self._usable & ~self._greedy.taken)
        if not self._options.rescue or not len(left):
            return
        order = hashed_order(self._pool.ids, left, self._options.seed)
        take_in_order(self._greedy, order, self._ledger)
        self.fates[self._greedy.taken & (self.fates < 0)] = RESCUE
