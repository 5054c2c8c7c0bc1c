"""Every plan: each utterance once, no batch over the budget, one bin for all ranks at a step, bins spread evenly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.batching import (
    Binning,
    Cost,
    Lengths,
    bin_utterances,
    pack_utterances,
)
from linnet.data.batching.arrays import shuffled, shuffled_in_groups, stream, uniform
from linnet.data.batching.packing import fill
from linnet.errors import OptionError
from tests.support.lengths import WORLDS, batches_of, check_covers, corpora

COST = Cost(per_second=1.0, per_square_second=0.02, per_token=0.08, fixed=5.0)
ROOM = st.floats(1.0, 40.0)  # times what the dearest utterance costs alone


def budget_for(lengths: Lengths, room: float) -> float:
    return COST.fixed + room * float(COST.each(lengths.durations, lengths.tokens).max())


@settings(deadline=None, max_examples=150)
@given(corpora(), ROOM, WORLDS, st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**64 - 1))
def test_binned_batches(lengths: Lengths, room: float, world: int, groups: int, splits: int, seed: int) -> None:
    budget = budget_for(lengths, room)
    binning = bin_utterances(lengths, COST, budget, groups=groups, splits=splits)
    plan = binning.plan(binning.rows, world, stream(seed, 0, 0))
    check_covers(plan, range(len(lengths)))
    for at, batch in enumerate(batches_of(plan)):
        number = plan.bins[at // world]
        durations, tokens = lengths.durations[batch], lengths.tokens[batch]
        assert durations.max() <= binning.bins.seconds[number]
        assert tokens.max() <= binning.bins.tokens[number]
        assert len(batch) <= binning.sizes[number]
        assert COST.of(len(batch), durations.max(), tokens.max()) <= budget * (1 + 1e-12)


@settings(deadline=None, max_examples=80)
@given(corpora(), ROOM, WORLDS, st.integers(0, 99))
def test_packed_batches(lengths: Lengths, room: float, world: int, seed: int) -> None:
    budget = budget_for(lengths, room)
    packing = pack_utterances(lengths, COST, budget)
    plan = packing.plan(packing.rows, world, stream(seed, 0, 0))
    check_covers(plan, range(len(lengths)))
    for batch in batches_of(plan):
        spent = COST.fixed + COST.each(lengths.durations[batch], lengths.tokens[batch]).sum()
        assert spent <= budget * (1 + 1e-12)


def slow_best_fit(loads: list[float], capacity: float) -> list[list[int]]:
    packs: list[list[int]] = []
    for position in sorted(range(len(loads)), key=lambda at: -loads[at]):
        rooms = [
            (capacity - sum(loads[at] for at in pack) - loads[position], number) for number, pack in enumerate(packs)
        ]
        least = min([room for room in rooms if room[0] >= 0], default=None)
        if least is None:
            packs.append([position])
        else:
            packs[least[1]].append(position)
    return packs


@given(st.lists(st.integers(1, 64), max_size=60), st.integers(64, 200))
def test_packing_is_best_fit(eighths: list[int], capacity: int) -> None:
    loads = [value / 8 for value in eighths]
    assert fill(loads, capacity / 8) == slow_best_fit(loads, capacity / 8)


def typical(count: int, seed: int = 0) -> Lengths:
    random = np.random.default_rng(seed)
    durations = np.clip(random.lognormal(1.8, 0.6, count), 0.5, 40).astype(np.float32)
    return Lengths(durations, np.round(durations * random.lognormal(1.2, 0.25, count)).astype(np.int32))


@pytest.mark.parametrize("world", [1, 2, 7, 16])
def test_the_mixture_of_bins_is_the_same_throughout(world: int) -> None:
    """At any step each bin has done its share of the steps so far; the bound is that of stratified places."""
    binning = bin_utterances(typical(20_000), Cost(per_token=0.08), 300.0, groups=10)
    plan = binning.plan(binning.rows, world, stream(3, 0, 0))
    assert plan.steps > 100 / world
    done = np.cumsum(plan.bins[:, None] == np.arange(len(binning.bins)), axis=0)
    share = done[-1] * np.arange(1, plan.steps + 1)[:, None] / plan.steps
    bound = 2 + done[-1] * (len(binning.bins) + 2) / plan.steps  # the last bins can hold two parts
    assert (np.abs(done - share) <= bound).all()


@pytest.mark.parametrize("world", [1, 8])
def test_batches_are_full_but_for_the_last_step(world: int) -> None:
    binning = bin_utterances(typical(20_000), Cost(per_token=0.08), 300.0, groups=10)
    plan = binning.plan(binning.rows, world, stream(3, 0, 0))
    sizes = (plan.ends - plan.starts).reshape(plan.steps, world)
    assert int((sizes < binning.sizes[plan.bins][:, None]).any(axis=1).sum()) <= 2
    assert not len(plan.left_out)


def test_a_row_that_is_there_twice_is_read_twice() -> None:
    binning = bin_utterances(typical(300), COST, 200.0, groups=4)
    rows = np.array([5, 5, 5, *range(100)])
    plan = binning.plan(rows, 3, stream(0, 0, 0))
    check_covers(plan, rows.tolist())


def test_rows_that_are_not_selected_are_in_no_batch() -> None:
    binning = bin_utterances(typical(300), COST, 200.0, rows=np.arange(0, 300, 2), groups=4)
    check_covers(binning.plan(binning.rows, 2, stream(0, 0, 0)), range(0, 300, 2))
    with pytest.raises(OptionError, match="row 5 is in no bin"):
        binning.plan(np.array([4, 5]), 1, stream(0, 0, 0))


def test_an_utterance_over_the_budget_is_named() -> None:
    lengths = Lengths(np.array([3.0, 30.0, 20.0], np.float32), np.array([5, 50, 40], np.int32))
    for make in (bin_utterances, pack_utterances):
        with pytest.raises(OptionError, match=r"row 1 \(30 s, 50 tokens\) alone costs 34 .* 2 rows"):
            make(lengths, Cost(per_token=0.08), 20.0)


def test_batches_that_ran_out_of_memory_shrink_by_a_tenth_and_by_one_at_least() -> None:
    binning = bin_utterances(typical(300), COST, 400.0, groups=2, splits=1)
    smaller = binning.shrunk(0)
    assert smaller.sizes.tolist() == [int(binning.sizes[0] * 0.9), binning.sizes[1]]
    two: Binning = binning.with_limits([2, 1]).shrunk(0)
    assert two.limits == (1, 1)
    with pytest.raises(OptionError, match="alone is too large"):
        two.shrunk(0)
    packing = pack_utterances(typical(300), COST, 400.0)
    assert packing.shrunk(0).limits == (0.9 * 395.0,)
    with pytest.raises(OptionError, match="run out of memory"):
        packing.with_limits([float(packing.loads.max())]).shrunk(0)


def test_random_numbers_are_those_of_philox_for_ever() -> None:
    """Pinned: a checkpoint must mean the same plan on every machine, whatever numpy is there."""
    assert np.asarray(stream(1, 2, 3).random_raw(2)).tolist() == [1170280437898119671, 13051159143091778299]
    assert shuffled(stream(0, 0, 0), 8).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    draws = uniform(stream(0, 0, 1), 10_000)
    assert 0 <= draws.min() <= draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=0.02)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 99))
def test_groups_are_shuffled_within(groups: list[int], seed: int) -> None:
    order = shuffled_in_groups(stream(seed, 0, 0), np.array(groups, np.int16))
    assert sorted(order.tolist()) == list(range(len(groups)))
    assert [groups[at] for at in order] == sorted(groups)


def test_every_order_within_a_group_occurs() -> None:
    orders = {tuple(shuffled_in_groups(stream(seed, 0, 0), np.zeros(3, np.int16)).tolist()) for seed in range(60)}
    assert len(orders) == 6
