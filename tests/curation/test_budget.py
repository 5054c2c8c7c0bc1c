"""Hours are spread as asked, and what is asked at least and at most holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.curation.budget import BudgetOptions, Cap, Floor, FloorLedger, Ledger, StratumOptions, allocate
from linnet.curation.pool import Labels
from linnet.errors import OptionError

HOURS = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=8)


@given(HOURS, st.floats(0.0, 1.2), st.floats(1.0, 5.0), st.floats(0.0, 1.0))
def test_an_allocation_is_the_budget_and_within_its_bounds(
    available: list[float], share: float, temperature: float, floor: float
) -> None:
    hours = np.array(available)
    budget = share * hours.sum()
    least = floor * 0.5 * hours
    given_ = allocate(hours, budget, temperature, least)
    assert given_.sum() == pytest.approx(min(budget, hours.sum()), rel=1e-9, abs=1e-6)
    assert (given_ <= hours * (1 + 1e-9) + 1e-6).all()
    if least.sum() <= budget:
        assert (given_ >= least * (1 - 1e-9) - 1e-6).all()


def test_temperature_one_keeps_proportions_and_more_favors_the_small() -> None:
    hours = np.array([900.0, 100.0])
    assert allocate(hours, 100.0).tolist() == pytest.approx([90.0, 10.0])
    assert allocate(hours, 100.0, 2.0).tolist() == pytest.approx([75.0, 25.0])


def test_floors_beyond_the_budget_are_spread() -> None:
    assert allocate(np.array([10.0, 10.0]), 6.0, 1.0, np.array([8.0, 4.0])).tolist() == pytest.approx([4.0, 2.0])


def test_a_ledger_names_what_keeps_a_row_out() -> None:
    labels = Labels.of(["a", "a", "b", None])
    ledger = Ledger(np.full(4, 2.0), 5.0, [Cap("speaker", labels, np.array([3.0, 3.0]), np.full(4, 2.0))])
    ledger.take(0)
    assert ledger.open_to(np.arange(4)).tolist() == [False, False, True, True]
    assert [ledger.blocker(row) for row in (1, 2, 3)] == ["speaker", None, None]
    ledger.take(3)
    assert ledger.blocker(2) == "budget"
    ledger.drop_cap("speaker")
    assert ledger.blocker(1) == "budget"


@given(st.integers(0, 2**32 - 1))
def test_all_rows_at_once_are_told_what_each_is_told(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = rng.choice([0.5, 1.0, 2.0], 12)
    names = [["a", "b", None][at] for at in rng.integers(0, 3, 12)]
    caps = [
        Cap("speaker", labels := Labels.of(names), np.full(len(labels.names), 2.0), seconds),
        Cap("text", labels, np.full(len(labels.names), 2.0), np.ones(12)),
    ]
    ledger = Ledger(seconds, 6.0, caps)
    for row in rng.permutation(12).tolist():
        if ledger.admits(row):
            ledger.take(row)
    told = [ledger.blocker(row) for row in range(12)]
    first = ledger.first_caps(np.arange(12))
    assert [caps[at].name if at >= 0 else None for at in first] == [one if one != "budget" else None for one in told]
    assert [ledger.admits(row) for row in range(12)] == ledger.open_to(np.arange(12)).tolist()


def test_a_cap_that_comes_later_counts_what_was_taken() -> None:
    labels = Labels.of(["a", "a"])
    ledger = Ledger(np.ones(2), 9.0)
    ledger.take(0)
    ledger.add_cap(Cap("language", labels, np.array([1.0]), np.ones(2)), np.array([0]))
    assert ledger.open_to(np.array([1])).tolist() == [False]


def test_a_floor_opens_until_it_is_reached() -> None:
    labels = Labels.of(["a", "a", "b"])
    ledger = FloorLedger(Ledger(np.ones(3), 9.0), [Floor("domain", labels, np.array([1.0, 2.0]))], np.array([], int))
    assert ledger.open_to(np.arange(3)).all()
    ledger.take(0)
    assert ledger.open_to(np.arange(3)).tolist() == [False, False, True]
    ledger.take(2)
    assert ledger.unmet == [("domain", "b", 1.0)]


def test_options_name_what_is_wrong() -> None:
    with pytest.raises(OptionError, match="keep must be from 0 to 1, got 20"):
        BudgetOptions(keep=20)
    with pytest.raises(OptionError, match="cap_share"):
        StratumOptions(cap_share=2.0)
    with pytest.raises(OptionError, match="temperature must be 1 or more"):
        BudgetOptions(temperature=0.5)
    assert BudgetOptions(hours=5.0).seconds(3600.0) == 3600.0
