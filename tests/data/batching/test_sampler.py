"""A run's batches: resumed at any step, in any world, with bins that shrank, they are those of the unbroken run."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.batching import Batches, Binning, Cost, Lengths, Mixture, bin_utterances, pack_utterances
from linnet.errors import OptionError
from tests.support.lengths import WORLDS, corpora

COST = Cost(per_token=0.08)


def binning(lengths: Lengths, room: float = 6.0) -> Binning:
    return bin_utterances(lengths, COST, room * float(COST.each(lengths.durations, lengths.tokens).max()), groups=3)


def some(count: int = 400) -> Lengths:
    random = np.random.default_rng(0)
    return Lengths(random.uniform(1, 20, count).astype(np.float32), random.integers(1, 60, count).astype(np.int32))


@settings(deadline=None, max_examples=60)
@given(corpora(), WORLDS, st.integers(0, 3), st.data())
def test_an_epoch_resumed_at_any_step_is_the_tail_of_the_unbroken_one(
    lengths: Lengths, world: int, epoch: int, data: st.DataObject
) -> None:
    if len(lengths) < world:
        with pytest.raises(OptionError, match="too few"):
            Batches(binning(lengths), world=world)
        return
    unbroken = Batches(binning(lengths), world=world, seed=1)
    unbroken.seek(epoch)
    whole = list(unbroken)
    assert len(whole) == len(unbroken) == unbroken.steps * world
    step = data.draw(st.integers(0, unbroken.steps))
    state = json.loads(json.dumps(unbroken.state(step)))
    resumed = Batches(binning(lengths), world=world, seed=1)
    resumed.restore(state)
    assert list(resumed) == whole[step * world :]
    assert len(resumed) == len(whole) - step * world
    resumed.seek(epoch, step)
    for rank in range(world):
        assert list(resumed.of_rank(rank)) == whole[step * world + rank :: world]


@settings(deadline=None, max_examples=60)
@given(corpora(), st.lists(WORLDS, min_size=2, max_size=4), st.data())
def test_another_world_reads_what_is_left_and_nothing_twice(
    lengths: Lengths, worlds: list[int], data: st.DataObject
) -> None:
    """A run that is broken off and goes on with other numbers of processes; and each state leads back to its place."""
    if len(lengths) < max(worlds):
        return
    step = 0
    batches = Batches(binning(lengths), world=worlds[0])
    read: list[int] = []
    for world in worlds[1:]:
        before, step = step, data.draw(st.integers(step, batches.steps))
        dealt = list(batches)[: (step - before) * batches.plan.world]
        read += [row for batch in dealt for row in batch]
        state = json.loads(json.dumps(batches.state(step)))
        batches = Batches(binning(lengths), world=world)
        batches.restore(state)
        assert batches.plan.world == world
    again = Batches(binning(lengths), world=worlds[-1])
    again.restore(batches.state(step))
    assert list(again) == list(batches)
    rest = [row for batch in batches for row in batch]
    assert sorted(read + rest + batches.plan.left_out.tolist()) == list(range(len(lengths)))
    assert len(batches.plan.left_out) < worlds[-1]


def test_epochs_differ_and_each_is_always_the_same() -> None:
    batches = Batches(binning(some()), world=2, seed=9)
    epochs = []
    for epoch in range(3):
        batches.seek(epoch)
        epochs.append(list(batches))
        assert list(batches) == epochs[-1]
    assert epochs[0] != epochs[1] != epochs[2]
    fresh = Batches(binning(some()), world=2, seed=9)
    fresh.seek(2)
    assert list(fresh) == epochs[2]
    assert list(Batches(binning(some()), world=2, seed=8)) != epochs[0]


def test_a_bin_that_shrank_stays_small_and_its_step_is_read_again() -> None:
    batches = Batches(binning(some()), world=2)
    before = list(batches)
    number = int(batches.plan.bins[5])
    size = batches.planner.limits[number]
    said = batches.shrink(5)
    assert said == f"bin {number} has batches of {batches.planner.limits[number]:g} now, not of {size:g}"
    after = list(batches)
    assert sorted(row for batch in before[:10] + after for row in batch) == list(range(400))
    assert batches.planner.limits[number] < size
    smaller = batches.planner.limits
    state = json.loads(json.dumps(batches.state(7)))
    resumed = Batches(binning(some()), world=2)
    resumed.restore(state)
    assert list(resumed) == after[4:]
    assert resumed.planner.limits == smaller
    resumed.seek(1)
    batches.seek(1)
    assert list(resumed) == list(batches)


def test_changes_at_the_same_step_count_as_one() -> None:
    once, twice = (Batches(binning(some()), world=2) for _ in range(2))
    once.change(4, world=3)
    twice.change(4, world=5)
    twice.change(4, world=3)
    assert list(once) == list(twice)
    start = Batches(binning(some()), world=2)
    start.change(0, world=3)
    assert list(start) == list(Batches(binning(some()), world=3))


def test_packs_are_sampled_the_same_way() -> None:
    batches = Batches(pack_utterances(some(), COST, 200.0), world=3)
    whole = list(batches)
    assert sorted(row for batch in whole for row in batch) == list(range(400))
    resumed = Batches(pack_utterances(some(), COST, 200.0), world=3)
    resumed.restore(batches.state(6))
    assert list(resumed) == whole[18:]


def test_a_mixture_is_planned_anew_each_epoch() -> None:
    rows = np.arange(400)
    mixture = Mixture([rows[:300], rows[300:]], [0.5, 2.0])
    batches = Batches(binning(some()), mixture=mixture, seed=2)
    for epoch in range(3):
        batches.seek(epoch)
        assert sorted(row for batch in batches for row in batch) == sorted(mixture.rows(epoch, 2).tolist())


def test_a_checkpoint_of_other_data_is_refused() -> None:
    state = Batches(binning(some()), seed=1).state(3)
    mixture = Mixture([np.arange(400)], [1.0])
    others = [
        Batches(binning(some()), seed=2),
        Batches(binning(some(401)), seed=1),
        Batches(bin_utterances(some(), COST, 100.0, groups=4), seed=1),
        Batches(binning(some()), seed=1, mixture=mixture),
    ]
    for other in others:
        with pytest.raises(OptionError, match="planned from other"):
            other.restore(state)


def test_steps_worlds_and_seeds_that_cannot_be() -> None:
    batches = Batches(binning(some()), world=2)
    for step in (-1, batches.steps + 1):
        with pytest.raises(OptionError, match=f"step {step} is not in epoch 0"):
            batches.seek(0, step)
    for world, seed in ((0, 0), (1, -1), (1, 2**64)):
        with pytest.raises(OptionError, match="give one process"):
            Batches(binning(some()), world=world, seed=seed)


def test_utterances_that_are_left_out_are_said(caplog: pytest.LogCaptureFixture) -> None:
    five = Lengths(np.full(5, 10.0, np.float32), np.full(5, 20, np.int32))
    with caplog.at_level(logging.WARNING):
        batches = Batches(binning(five, room=1.0), world=2)
        assert batches.steps == 2
    assert "epoch 0 leaves 1 utterances out" in caplog.text
    lefts = set()
    for epoch in range(40):
        batches.seek(epoch)
        lefts.update(batches.plan.left_out.tolist())
    assert lefts == set(range(5))
