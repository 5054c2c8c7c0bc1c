"""Stock accelerate deals the one global plan to its processes: nobody gets a batch twice, nobody waits for one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from linnet.data.batching import Batches, Cost, Lengths, bin_utterances
from tests.support.lengths import WORLDS, corpora
from tests.support.ranks import on_ranks

NEEDS = "accelerate (the extra `train`) is not installed"
COST = Cost(per_token=0.08)


def corpus() -> Lengths:
    random = np.random.default_rng(0)
    return Lengths(random.uniform(1, 20, 301), random.integers(1, 60, 301))


def batches_for(lengths: Lengths, world: int) -> Batches:
    budget = 5 * float(COST.each(lengths.durations, lengths.tokens).max())
    return Batches(bin_utterances(lengths, COST, budget, groups=3), world=world, seed=5)


@settings(deadline=None, max_examples=40)
@given(corpora(), WORLDS)
def test_its_shards_are_the_batches_of_each_rank(lengths: Lengths, world: int) -> None:
    data_loader = pytest.importorskip("accelerate.data_loader", reason=NEEDS)
    if len(lengths) < world:
        return
    batches = batches_for(lengths, world)
    for rank in range(world):
        shard = data_loader.BatchSamplerShard(batches, world, rank, even_batches=False)
        assert list(shard) == list(batches.of_rank(rank))
        assert len(shard) == batches.steps


def dealt() -> list[list[list[int]]]:
    """What this rank reads in an epoch, and from the fourth step of the next."""
    from accelerate import Accelerator, DataLoaderConfiguration
    from torch.utils.data import DataLoader

    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
    batches = batches_for(corpus(), accelerator.num_processes)
    rows = list(range(len(corpus())))
    loader = accelerator.prepare(DataLoader(rows, batch_sampler=batches, collate_fn=list, num_workers=0))
    found: list[list[list[int]]] = []
    for epoch, step in ((0, 0), (1, 4)):
        batches.seek(epoch, step)
        found.append([])
        for batch in loader:
            accelerator.wait_for_everyone()  # hangs where one rank has a batch more than another
            found[-1].append(batch)
    accelerator.end_training()
    return found


def test_two_processes_read_everything_once() -> None:
    pytest.importorskip("accelerate", reason=NEEDS)
    read = on_ranks(2, dealt, timeout=120)
    batches = batches_for(corpus(), 2)
    for turn, (epoch, step) in enumerate(((0, 0), (1, 4))):
        batches.seek(epoch, step)
        assert [read[rank][turn] for rank in range(2)] == [list(batches.of_rank(rank)) for rank in range(2)]
    assert sorted(row for rank in range(2) for batch in read[rank][0] for row in batch) == list(range(301))
