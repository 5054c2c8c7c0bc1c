"""The lazy greedy takes what a plain greedy takes, and never more than its hours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.curation import coverage
from linnet.curation.budget import Cap, Ledger
from linnet.curation.coverage import ONE, CoverageGreedy, Items, Unlimited
from linnet.curation.frontier import frontier
from linnet.curation.pool import Labels
from linnet.curation.ragged import Ragged


def plain_greedy(items: Items, costs: np.ndarray, admission: Ledger | Unlimited) -> list[int]:
    """Looks at every row before each step."""
    counts = np.zeros(len(items.weights), int)
    left, taken = list(range(len(costs))), []
    while True:
        left = [row for row in left if admission.open_to(np.array([row]))[0]]
        if not left:
            return taken
        gains = [
            sum(
                int(np.rint(ONE * items.weights[u] * np.log2((counts[u] + 2) / (counts[u] + 1)))) for u in items.rows[r]
            )
            for r in left
        ]
        best = int(np.argmax(np.array(gains) / costs[left]))  # the first of equal ones
        row = left.pop(best)
        taken.append(row)
        admission.take(row)
        counts[items.rows[row]] += 1


def random_items(rng: np.random.Generator, rows: int, kinds: int) -> Items:
    lists = [rng.choice(kinds, size=rng.integers(0, 6), replace=False) for _ in range(rows)]
    return Items(Ragged.from_lists(lists, np.int32), rng.choice([0.5, 1.0, 1.5], kinds))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_lazy_is_plain(seed: int, rows: int, narrow: bool) -> None:
    rng = np.random.default_rng(seed)
    items, costs = random_items(rng, rows, 8), rng.choice([0.5, 1.0, 2.0], rows)
    labels = Labels.of([f"g{at}" for at in rng.integers(0, 3, rows)])
    cap = Cap("g", labels, np.full(len(labels.names), 6.0), costs)
    greedy = CoverageGreedy(items, costs)
    with pytest.MonkeyPatch.context() as patch:
        if narrow:  # a band that does not hold all rows
            patch.setattr(coverage, "NARROW", 7)
        greedy.run(np.ones(rows, bool), Ledger(costs, 0.6 * costs.sum(), [cap]))
    assert greedy.picks.rows == plain_greedy(items, costs, Ledger(costs, 0.6 * costs.sum(), [cap]))


def test_a_chosen_row_adds_less_than_before_and_the_rest_goes_on() -> None:
    items = Items(Ragged.from_lists([[0, 1], [0, 1], [2]], np.int32), np.array([1.0, 1.0, 1.5]))
    greedy = CoverageGreedy(items, np.ones(3))
    greedy.run(np.array([True, False, False]), Unlimited())
    assert greedy.priorities[1] / ONE == pytest.approx(2 * np.log2(3 / 2))
    greedy.run(np.ones(3, bool), Unlimited())
    assert greedy.picks.rows == [0, 2, 1]
    assert np.array(greedy.picks.priorities) / ONE == pytest.approx([2.0, 1.5, 2 * np.log2(1.5)])


def test_without_items_cheap_rows_come_first() -> None:
    greedy = CoverageGreedy(Items.none(4), np.array([2.0, 1.0, 3.0, 1.0]))
    greedy.run(np.ones(4, bool), Unlimited())
    assert greedy.picks.rows == [1, 3, 0, 2]


def test_no_rows_at_all() -> None:
    greedy = CoverageGreedy(Items.none(0), np.zeros(0))
    greedy.run(np.ones(0, bool), Unlimited())
    assert greedy.picks.rows == []


def test_the_frontier_is_what_a_count_says() -> None:
    rng = np.random.default_rng(5)
    items, seconds = random_items(rng, 40, 12), rng.uniform(1, 9, 40)
    order = rng.permutation(40)[:30]
    found = frontier(items, order, seconds, points=7)
    uses = np.bincount(items.rows.values, minlength=12)
    for hours, recordings, kinds, used, gain in zip(
        found.hours, found.recordings, found.kinds, found.uses, found.gain, strict=True
    ):
        taken = order[:recordings]
        counts = np.bincount(np.concatenate([*(items.rows[row] for row in taken), np.zeros(0, int)]), minlength=12)
        assert hours == pytest.approx(seconds[taken].sum() / 3600)
        assert kinds == pytest.approx((counts > 0).mean())
        assert used == pytest.approx(uses[counts > 0].sum() / uses.sum())
        assert gain == pytest.approx((items.weights * np.log2(1 + counts)).sum())
    assert (found.recordings[0], found.recordings[-1]) == (0, 30)
    assert found.at(0.0) == (0.0, 0.0)
    assert frontier(Items.none(3), np.arange(3), np.ones(3)).kinds.tolist()[-1] == 0.0


def test_the_greedy_adds_what_the_frontier_counts() -> None:
    rng = np.random.default_rng(6)
    items, costs = random_items(rng, 30, 9), rng.uniform(1, 2, 30)
    greedy = CoverageGreedy(items, costs)
    greedy.run(np.ones(30, bool), Unlimited())
    rows = np.array(greedy.picks.rows)
    whole = (np.array(greedy.picks.priorities) * costs[rows]).sum() / ONE
    assert whole == pytest.approx(frontier(items, rows, costs).gain[-1], rel=1e-9)


@pytest.mark.parametrize("tolerance", [0.02, 0.2])
def test_within_the_tolerance_each_step_is_nearly_the_best(tolerance: float) -> None:
    rng = np.random.default_rng(7)
    items, costs = random_items(rng, 120, 15), rng.uniform(1, 2, 120)
    greedy = CoverageGreedy(items, costs, tolerance)
    greedy.run(np.ones(120, bool), Unlimited())
    assert sorted(greedy.picks.rows) == list(range(120))
    replay = CoverageGreedy(items, costs)
    for row, priority in zip(greedy.picks.rows, greedy.picks.priorities, strict=True):
        best = replay.priorities[~replay.taken].max()
        assert replay.priorities[row] == priority
        assert priority >= (1 - tolerance) * best
        replay.add(row)
