"""What a layer takes on this machine at each rank: the cost for a budget of time instead of parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from linnet.compression.allocation import STEP, Cost
from linnet.compression.sites import Site
from linnet.models.lowrank.layers import Form, low_rank_linear

POINTS = 6  # ranks that are timed for each shape; times between them are interpolated
ROUNDS = 7

Timer = Callable[[nn.Module, int, int], float]


@torch.no_grad()
def seconds_of(layer: nn.Module, inputs: int, frames: int) -> float:
    """The fastest of some runs of a layer on random frames [1, frames, inputs]: others wait for other work."""
    given = torch.randn(1, frames, inputs)
    times = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        layer(given)
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def latency_cost(
    sites: Sequence[Site], form: Form, frames: int, *, step: int = STEP, timer: Timer = seconds_of
) -> Cost:
    """The seconds of a site's layer at a rank, None for dense, from times of each shape among `sites`."""
    dense: dict[tuple[int, int], float] = {}
    tables: dict[tuple[int, int], tuple[list[int], list[float]]] = {}
    for shape in dict.fromkeys((site.inputs, site.outputs) for site in sites):
        dense[shape] = timer(nn.Linear(*shape), shape[0], frames)
        most = min(shape) - 1
        ranks = sorted(
            {max(step, round(most * place / POINTS)) for place in range(1, POINTS + 1)} & set(range(1, most + 1))
        )
        times = [timer(low_rank_linear(*shape, rank, form), shape[0], frames) for rank in ranks]
        tables[shape] = ranks, list(np.maximum.accumulate(times))  # a higher rank is never taken to be faster

    def cost(site: Site, rank: int | None) -> float:
        shape = site.inputs, site.outputs
        return dense[shape] if rank is None or not tables[shape][0] else float(np.interp(rank, *tables[shape]))

    return cost
