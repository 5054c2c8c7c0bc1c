"""One recording's fate in words, and two selections compared."""

from __future__ import annotations

import numpy as np
import pytest

from linnet.curation.budget import BudgetOptions
from linnet.curation.diff import compare
from linnet.curation.explain import explain
from linnet.curation.select import SelectOptions, select
from linnet.errors import OptionError
from tests.support.pools import pool_of, random_pool

POOL = random_pool(800, seed=4)
SELECTION = select(POOL)


def test_a_kept_one_and_one_that_was_not() -> None:
    kept = str(POOL.ids[int(np.flatnonzero(SELECTION.ranks == 2)[0])])
    found = explain(SELECTION, kept, POOL)
    assert (found.kept, found.rank, found.fate) == (True, 3, "coverage")
    assert found.scores["novelty"] == pytest.approx(float(POOL.scores["novelty"][found.row]))
    assert found.measured["snr_db"] == 30.0
    assert f"taken as number 3 of {int(SELECTION.kept.sum())}" in found.lines()
    left = str(POOL.ids[int(np.flatnonzero(~SELECTION.kept & (SELECTION.weights > 0))[0])])
    found = explain(SELECTION, left)
    assert found.last_priority is not None
    assert found.priority <= found.last_priority
    assert found.weight == pytest.approx(found.priority / found.last_priority)
    assert any("of the gain per second of the last one" in line for line in found.lines())
    assert found.to_dict()["id"] == left


def test_a_copy_names_the_other_one() -> None:
    selection = select(pool_of(["one two"] * 3, hashes=[5, 6, 5]))
    found = explain(selection, "r2")
    assert (found.fate, found.like) == ("same-sound", "r0")
    assert "the other recording is r0" in found.lines()
    assert "sample by sample" in found.reason


def test_an_id_that_is_not_there() -> None:
    with pytest.raises(OptionError, match="no recording has the id 'r77777'"):
        explain(SELECTION, "r77777")


def test_hours_of_both_and_of_each() -> None:
    other = select(POOL, SelectOptions(budget=BudgetOptions(keep=0.3), seed=1))
    found = compare(SELECTION, other)
    both = SELECTION.kept & other.kept
    assert found.hours_both == pytest.approx(POOL.seconds[both].sum() / 3600)
    assert found.overlap == pytest.approx(found.hours_both / (found.hours_a + found.hours_b - found.hours_both))
    assert sum(found.moves.values()) == int((SELECTION.kept != other.kept).sum())
    assert found.strata["language"]["en"] == pytest.approx(
        (SELECTION.by_stratum("language")["en"][2], other.by_stratum("language")["en"][2])
    )
    assert "domain" not in found.strata  # nobody named one
    assert set(found.only_b) <= set(POOL.ids[other.kept & ~SELECTION.kept])
    assert found.lines()[0].startswith("A keeps")
    same = compare(SELECTION, SELECTION)
    assert (same.overlap, same.moves, same.only_a, same.missing) == (1.0, {}, (), 0)


def test_other_recordings_are_counted() -> None:
    found = compare(SELECTION, select(pool_of(["one"] * 3, ids=["r0", "new", "r1"])))
    assert found.missing == 799


USABLE = SELECTION.weights > 0
BUDGET = 0.2 * POOL.seconds.sum()
