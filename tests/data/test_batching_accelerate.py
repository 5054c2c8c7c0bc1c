"""Stock accelerate deals the one global plan to its processes: nobody gets a batch twice, nobody waits for one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from lengths_of import WORLDS, corpora

from linnet.data.batching import Batches, Cost, Lengths, bin_utterances

NEEDS = "accelerate (the extra `train`) is not installed"
COST = Cost(per_token=0.08)
PROCESS = """
import json, sys
from accelerate import Accelerator, DataLoaderConfiguration
from torch.utils.data import DataLoader
from test_batching_accelerate import batches_for, corpus

accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
batches = batches_for(corpus(), accelerator.num_processes)
rows = list(range(len(corpus())))
loader = accelerator.prepare(DataLoader(rows, batch_sampler=batches, collate_fn=list, num_workers=0))
dealt = []
for epoch, step in ((0, 0), (1, 4)):
    batches.seek(epoch, step)
    dealt.append([])
    for batch in loader:
        accelerator.wait_for_everyone()  # hangs where one rank has a batch more than another
        dealt[-1].append(batch)
json.dump(dealt, open(sys.argv[1], "w"))
accelerator.end_training()
"""


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


def test_two_processes_read_everything_once(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason=NEEDS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    processes = []
    for rank in range(2):
        mine = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-c", PROCESS, str(tmp_path / f"{rank}.json")]
        processes.append(subprocess.Popen(command, env=mine, stderr=subprocess.PIPE, text=True))
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    dealt = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    batches = batches_for(corpus(), 2)
    for turn, (epoch, step) in enumerate(((0, 0), (1, 4))):
        batches.seek(epoch, step)
        assert [dealt[rank][turn] for rank in range(2)] == [list(batches.of_rank(rank)) for rank in range(2)]
    assert sorted(row for rank in range(2) for batch in dealt[rank][0] for row in batch) == list(range(301))
