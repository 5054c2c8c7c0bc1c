"""How long a run will take: its floating-point operations by the rate of this machine, or of another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from linnet.data.batching import Lengths
from linnet.data.batching.plan import Plan
from linnet.models.device import choose_device
from linnet.training.options import Run
from linnet.training.speech.flops import StepFlops

SHARE = 0.4  # of a machine's rate that training reaches, by experience; matrix products alone reach all of it
H100 = 989e12  # bfloat16 products a second without sparsity, by the maker's data sheet (SXM)
_LOOKED_AT = 2000  # batches of an epoch, evenly spread
_SIDES = {"cpu": 512, "cuda": 8192}  # at most; on a CPU some milliseconds: one of them is not disturbed by other work
_ROWS = {"cpu": 1024, "cuda": 8192}
_SECONDS = 0.3


@dataclass(frozen=True)
class Duration:
    """Operations of a run and of a step on average; what this machine does a second in products of such a `width`."""

    run: float
    step: float
    rate: float
    width: int

    def seconds(self, rate: float | None = None) -> float:
        """The time of the run at `SHARE` of a rate, by default this machine's."""
        return self.run / (SHARE * (rate or self.rate))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Rows of a dry run's table."""
        yield "compute", f"{_count(self.run)}FLOP in all, {_count(self.step)}FLOP a step on average"
        share = f"{100 * SHARE:.0f} %"
        own = f"{_span(self.seconds())} at {share} of this machine's {_count(self.rate)}FLOPS"
        yield "estimated time", f"{own} (products of width {self.width}), without validation"
        yield "", f"{_span(self.seconds(H100))} at {share} of an H100's {_count(H100)}FLOPS (a large model in bf16)"


def estimate(flops: StepFlops, lengths: Lengths, plan: Plan, batches: float, steps: int, run: Run) -> Duration:
    """The duration of a run of so many batches of a plan in so many steps, on one device."""
    count = len(plan.starts)
    taken = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).round().astype(int))
    spent = []
    for at in taken:
        rows = plan.rows[plan.starts[at] : plan.ends[at]]
        spent.append(flops.batch(len(rows), float(lengths.durations[rows].max()), int(lengths.tokens[rows].max())))
    total = batches * float(np.mean(spent))
    device = choose_device(run.device)[0]
    width = min(flops.width, _SIDES.get(device.type, _SIDES["cpu"]))
    return Duration(total, total / max(steps, 1), measure_rate(device, run.precision, width), width)


@torch.no_grad()
def measure_rate(device: torch.device, precision: str, width: int) -> float:
    """Operations per second of products with a square matrix in the number format of a recipe; the best of some.

    A machine is slower in small matrices, so `width` is that of the model's.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    rows = _ROWS.get(device.type, _ROWS["cpu"])
    given = torch.randn(rows, width, device=device).to(dtype)
    matrix = torch.randn(width, width, device=device).to(dtype)
    best, until = 0.0, time.perf_counter() + _SECONDS
    while not best or time.perf_counter() < until:
        start = time.perf_counter()
        made = given @ matrix
        float(made[0, 0])  # waits for the device
        best = max(best, 2.0 * rows * width**2 / (time.perf_counter() - start))
    return best


def _count(value: float) -> str:
    """As `2.1 T`, to be followed by a unit.

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
