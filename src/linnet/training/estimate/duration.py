"""Estimated duration of a run: its floating-point operations at the rate of this machine or another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from linnet.data.batching.arrays import Ints
from linnet.data.batching.plan import Plan
from linnet.models.device import torch_device
from linnet.training.speech.recipe import SpeechRecipe

SHARE = 0.4  # of the rate of matrix products that training typically reaches
H100 = 989e12  # bfloat16 FLOPS without sparsity, by the data sheet (SXM)
_SAMPLED = 2000  # batches of an epoch, evenly spread
_SIDES = {"cpu": 512, "cuda": 8192}  # on a CPU a few milliseconds, so that some run undisturbed
_SECONDS = 0.3


@dataclass(frozen=True)
class Duration:
    """Operations of a run and of an average step, and this machine's operations per second."""

    run: float
    step: float
    rate: float

    def seconds(self, rate: float | None = None) -> float:
        """The duration of the run at `SHARE` of a rate, by default this machine's."""
        return self.run / (SHARE * (rate or self.rate))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Rows of a dry run's table."""
        yield "compute", f"{_count(self.run)}FLOP in all, {_count(self.step)}FLOP a step on average"
        share = f"{100 * SHARE:.0f} %"
        own = f"{_span(self.seconds())} at {share} of this machine's {_count(self.rate)}FLOPS"
        yield "estimated time", f"{own}, without validation"
        yield "", f"{_span(self.seconds(H100))} at {share} of an H100's {_count(H100)}FLOPS (bf16)"


def some_batches(plan: Plan) -> Iterator[Ints]:
    """The rows of each batch of an epoch, or of an evenly spread sample of a long one."""
    count = len(plan.starts)
    for at in np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).round().astype(int)):
        yield plan.rows[plan.starts[at] : plan.ends[at]]


def estimate(spent: Callable[[Ints], float], plan: Plan, steps: int, recipe: SpeechRecipe) -> Duration:
    """The duration of a run of `steps` by an epoch's plan for one device; `spent` counts a batch's operations."""
    run = recipe.run
    batches = steps * plan.steps / max(1, math.ceil(plan.steps / recipe.optimization.accumulate))
    total = batches * float(np.mean([spent(rows) for rows in some_batches(plan)]))
    device = torch_device(run.device)
    return Duration(total, total / max(steps, 1), measure_rate(device, run.precision))


@torch.no_grad()
def measure_rate(device: torch.device, precision: str) -> float:
    """Operations per second of square matrix products in the precision of a recipe, the best of several."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    side = _SIDES.get(device.type, _SIDES["cpu"])
    matrix = torch.randn(side, side, device=device).to(dtype)
    best, until = 0.0, time.perf_counter() + _SECONDS
    while not best or time.perf_counter() < until:
        start = time.perf_counter()
        made = matrix @ matrix
        float(made[0, 0])  # waits for the device
        best = max(best, 2.0 * side**3 / (time.perf_counter() - start))
    return best


def _count(value: float) -> str:
    """A number such as `2.1 T`, to be followed by a unit.

    >>> _count(2.1e12), _count(989e12), _count(1.2345e16)
    ('2.1 T', '989 T', '12.3 P')
    """
    for power, letter in ((15, "P"), (12, "T"), (9, "G")):
        if value >= 10**power or letter == "G":
            scaled = value / 10**power
            return f"{scaled:,.0f} {letter}" if scaled >= 100 else f"{scaled:.1f} {letter}"
    raise AssertionError


def _span(seconds: float) -> str:
    """Minutes, hours or days.

    >>> _span(90), _span(11160), _span(200000)
    ('1.5 min', '3.1 h', '2.3 days')
    """
    for length, name in ((86400, "days"), (3600, "h")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds / 60:.1f} min"
