"""One recording's fate in words, two selections compared, and the choices that a choice has to beat."""

from __future__ import annotations

import numpy as np
import pytest
from linnet.curation.baselines import duration_matched, in_order, stratified_random, take

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
    assert any("of what the last one added" in line for line in found.lines())
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


def test_orders() -> None:
    assert np.diff(POOL.seconds[in_order("longest", POOL.seconds)]).max() <= 0
    assert np.diff(POOL.seconds[in_order("shortest", POOL.seconds)]).min() >= 0
    score = np.array([0.1, np.nan, 0.9, 0.5])
    assert in_order("highest", np.ones(4), score=score).tolist() == [2, 3, 0, 1]
    assert in_order("lowest", np.ones(4), score=score).tolist() == [0, 3, 2, 1]
    assert sorted(in_order("random", POOL.seconds, 3)) == list(range(800))
    with pytest.raises(ValueError, match="needs a score"):
        in_order("highest", POOL.seconds)
    taken = take(in_order("longest", POOL.seconds), POOL.seconds, BUDGET, USABLE)
    assert BUDGET * 0.995 <= POOL.seconds[taken].sum() <= BUDGET
    assert not (taken & ~USABLE).any()


def test_chance_with_the_same_lengths() -> None:
    longest = take(in_order("longest", POOL.seconds), POOL.seconds, BUDGET, USABLE)
    matched = duration_matched(longest, POOL.seconds, USABLE, seed=1)
    plain = take(in_order("random", POOL.seconds, 1), POOL.seconds, BUDGET, USABLE)
    assert POOL.seconds[matched].sum() == pytest.approx(BUDGET, rel=0.01)
    assert POOL.seconds[matched].mean() == pytest.approx(POOL.seconds[longest].mean(), rel=0.05)
    assert POOL.seconds[plain].mean() < 0.9 * POOL.seconds[longest].mean()


def test_chance_within_strata() -> None:
    labels = POOL.labels["language"]
    taken = stratified_random(labels, POOL.seconds, BUDGET, USABLE, seed=2)
    whole = labels.sums(np.where(USABLE, POOL.seconds, 0.0))
    kept = labels.sums(np.where(taken, POOL.seconds, 0.0))
    assert kept / kept.sum() == pytest.approx(whole / whole.sum(), abs=0.01)
    assert kept.sum() == pytest.approx(BUDGET, rel=0.01)
