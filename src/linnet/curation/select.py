"""The balanced choice: what is usable, then what adds most to what is there already, per second, within the hours.

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
_SHORTEST = 0.02  # seconds that a recording counts as at least
_NO_WORTH = 1e-9  # of a score of nothing


@dataclass(frozen=True)
class ValueOptions:
    """How the scores weigh: the weight of each component, and how much all of them count beside coverage.

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
    """Everything that decides about the balanced choice.

    The share `rescue` of the budget goes to usable recordings by a hash of id and `seed`, whatever they score, so that
    nothing is left out for good by a rule that is wrong.
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
    """Choose recordings; each has a reason why it is kept or not. The same pool and options give the same choice.

    `more_gates` are asked last, such as `Leak`. What the budget cannot be filled with, and floors that could not be
    reached, are told in the selection's notices.
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
    """The choice of a rule that knows scores alone, such as HEEP's threshold: `kept` [N], ranked by `score` [N].

    What fails a gate is not kept. Equal scores are in the order of the rows; one of NaN is the last. A sampling weight
    is the share of the least score that is kept.
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
    """The weighted mean of the components [N], a half where a recording has none, and the components that are there."""
    names = tuple(name for name, weight in options.weights.items() if weight > 0 and name in pool.scores)
    total, weight = np.zeros(len(pool)), np.zeros(len(pool))
    for name in names:
        scores = np.asarray(pool.scores[name], np.float64)
        known = ~np.isnan(scores)
        total += options.weights[name] * np.where(known, scores, 0.0)
        weight += options.weights[name] * known
    return np.where(weight > 0, total / np.maximum(weight, 1e-12), 0.5), names


def hashed_order(ids: NDArray[np.object_], rows: Integers, seed: int) -> Integers:
    """Rows in an order that depends on their ids and the seed alone."""
    keys = [blake2b(f"{seed} {ids[row]}".encode("utf-8", "surrogatepass"), digest_size=8).digest() for row in rows]
    order: Integers = np.lexsort((rows, np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)))
    return rows[order]


def take_in_order(greedy: CoverageGreedy, order: Integers, admission: Admission) -> None:
    """Take rows one after another as long as they may be taken."""
    for row in order.tolist():
        if not greedy.taken[row] and admission.open_to(np.array([row]))[0]:
            greedy.add(row)
            admission.take(row)


def duplicate_gates(options: DuplicateOptions) -> list[Gate]:
    """The gates that drop copies of sounds."""
    gates: list[Gate] = [SameSound()] if options.exact else []
    if any(one is not None for one in (options.near, options.near_same_text, options.near_contour)):
        gates.append(NearSound(options))
    return gates


def _costs(pool: Pool, options: SelectOptions) -> Numbers:
    value, _ = values(pool, options.value)
    seconds = np.maximum(pool.seconds, _SHORTEST)
    return np.asarray(seconds**options.coverage.duration_power / 2.0 ** (options.value.strength * (2 * value - 1)))


class _Choice:
    """One choice in the making: floors first, then each language its hours, then whatever is left, then the rescued."""

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
        """Take what is to be taken and give every usable recording its fate."""
        available = float(self._hours.sum())
        if available < self._budget * (1 - 1e-9):
            self.notices.say(
                f"{available / HOUR:.2f} hours are usable, less than the budget of {self._budget / HOUR:.2f}"
            )
            self._ledger.budget = self._budget
        self._floors()
        self._phase(COVERAGE, self._languages())
        self._rescue()
        left = self._usable & ~self._greedy.taken
        for row in np.flatnonzero(left).tolist():
            blocker = self._ledger.blocker(row)
            self.fates[row] = BUDGET if blocker in (None, "budget") else CAP[str(blocker)]
        spent = self._ledger.spent
        if spent < 0.995 * min(self._budget, available):
            why = "caps keep out the rest" if self._capped() else "what is left is longer"
            self.notices.say(f"{spent / HOUR:.3f} of {self._budget / HOUR:.3f} hours are filled: {why}")

    def _capped(self) -> bool:
        return bool(np.isin(self.fates, list(CAP.values())).any())

    def _phase(self, fate: int, capped: bool) -> None:
        """Greedy within the languages' hours, and again without them for hours that a language did not fill."""
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
        """Give each language its hours; a recording without a language is bound by the budget alone."""
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
