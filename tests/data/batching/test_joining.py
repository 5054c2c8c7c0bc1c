"""Windows of joined utterances: each comes once, every window and batch keeps its limits, kinds stay apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.batching import Batches, Cost, JoinedWindow, JoinPlan, Lengths, join_utterances
from linnet.data.batching.arrays import stream
from linnet.data.batching.joining import in_turn
from linnet.errors import OptionError
from tests.support.lengths import WORLDS, batches_of, check_covers, corpora

WINDOW = JoinedWindow(40.0, 250, silence=0.5)
COST = Cost(per_second=1.0, per_token=0.08)


def joined(lengths: Lengths, budget: float = 150.0, kinds: int = 1) -> JoinPlan:
    found = (np.arange(len(lengths)) % kinds).astype(np.int16)
    return join_utterances(lengths, WINDOW, COST, budget, kinds=found, rows=np.arange(len(lengths)))


@settings(max_examples=50)
@given(corpora(), WORLDS, st.integers(1, 3), st.integers(0, 2**64 - 1))
def test_each_comes_once_and_every_window_keeps_its_limits(lengths: Lengths, world: int, kinds: int, seed: int) -> None:
    joining = joined(lengths, kinds=kinds)
    plan = joining.plan(joining.rows, world, stream(seed, 0, 0))
    check_covers(plan, range(len(lengths)))
    for batch in batches_of(plan):
        windows = joining.windows(batch)
        assert [row for window in windows for row in window] == batch
        for window in windows:
            assert len({row % kinds for row in window}) == 1
            assert lengths.tokens[window].sum() <= WINDOW.places
            taken = lengths.durations[window].sum() + 0.5 * len(window)
            assert taken <= WINDOW.seconds + 1e-6 or len(window) == 1
        assert joining.shape(batch)[:2] == (len(windows), 40.0)


def test_batches_fill_their_budget_and_not_more() -> None:
    random = np.random.default_rng(0)
    lengths = Lengths(random.uniform(2, 5, 3000), random.integers(5, 25, 3000))
    joining = joined(lengths, budget=400.0)
    plan = joining.plan(joining.rows, 1, stream(0, 0, 0))
    costs = [float(COST.of(*joining.shape(batch))) for batch in batches_of(plan)]
    assert max(costs) <= 400
    assert np.mean(costs) > 360
    windows = [window for batch in batches_of(plan) for window in joining.windows(batch)]
    assert lengths.durations.sum() / (40 * len(windows)) > 0.8  # with half a second for each
    other = joining.plan(joining.rows, 1, stream(0, 1, 0))  # the next epoch has other neighbors
    again = {frozenset(window) for batch in batches_of(other) for window in joining.windows(batch)}
    assert len(again & {frozenset(window) for window in windows}) < 5


@given(st.lists(st.integers(1, 8), min_size=1, max_size=12), st.lists(st.integers(0, 1), min_size=12, max_size=12))
def test_windows_in_turn_are_as_few_as_can_be(eighths: list[int], kinds: list[int]) -> None:
    """The oracle tries every place for every cut."""
    best = [0]
    for end in range(1, len(eighths) + 1):
        begins = [b for b in range(end) if sum(eighths[b:end]) <= 8 and len(set(kinds[b:end])) == 1]
        best.append(1 + min(best[b] for b in begins))
    assert len(in_turn([load / 8 for load in eighths], kinds)) == best[-1]


def test_they_are_sampled_and_resumed_like_others() -> None:
    random = np.random.default_rng(1)
    lengths = Lengths(random.uniform(1, 6, 200), random.integers(5, 25, 200))
    batches = Batches(joined(lengths), world=2)
    whole = list(batches.of_rank(1))
    resumed = Batches(joined(lengths), world=2)
    resumed.restore(batches.state(2))
    assert list(resumed.of_rank(1)) == whole[2:]
    assert batches.shrink(3) == "bin 0 has batches of 135 now, not of 150"
    assert len(list(batches.of_rank(1))) >= len(whole) - 3


def test_what_no_budget_allows_is_said() -> None:
    with pytest.raises(OptionError, match=r"a window of 40 s with 200 tokens costs 56 of a budget of 50"):
        joined(Lengths([3.0], [200]), budget=50.0)
    with pytest.raises(OptionError, match="batches of one window"):
        joined(Lengths([3.0], [200]), budget=56.5).shrunk(0)
    with pytest.raises(OptionError, match="no utterance to join"):
        joined(Lengths([], []))
