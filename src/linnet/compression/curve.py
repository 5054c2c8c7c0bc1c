"""Held-out divergence and computation over encoder sizes, for budgets and for LiteASR's presets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from linnet.compression.allocation import PRESETS
from linnet.compression.job import Compressed, CompressOptions, Study, compress
from linnet.compression.latency import LayerTimes
from linnet.compression.sites import hooked
from linnet.compression.subject import Example
from linnet.errors import OptionError
from linnet.models.lowrank.layers import parameters_of
from linnet.notices import Notify, ignore

BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


@dataclass(frozen=True)
class Point:
    """One size: the remaining share of the encoder's parameters, and the divergence in nats on held-out windows."""

    name: str
    share: float
    divergence: float


def size_curve(
    study: Study,
    options: CompressOptions,
    budgets: Sequence[float] = BUDGETS,
    notify: Notify | None = None,
    *,
    times: LayerTimes | None = None,
) -> dict[str, list[Point]]:
    """Points of the options' method at several budgets, and of LiteASR's rule at its presets, from large to small.

    With `times` of layers, the first method keeps layers dense that are not faster; the rule is as published. A budget
    that cannot be met ends the first line. The study's model is unchanged.
    """
    say = notify or ignore
    own, rule = [], []
    for budget in budgets:
        say(f"trying a budget of {budget:g}")
        try:
            made = compress(study, replace(options, thresholds=None, latency=None, budget=budget), times)
        except OptionError:  # smaller budgets cannot be met either
            break
        own.append(Point(f"{budget:g}", made.share, made.divergence))
    for name in PRESETS:
        say(f"trying LiteASR's preset {name}")
        made = compress(study, CompressOptions.preset(name))
        rule.append(Point(name, made.share, made.divergence))
    return {"budget": own, "LiteASR's rule": rule}


@torch.no_grad()
def multiply_adds(study: Study, made: Compressed, example: Example) -> tuple[int, int]:
    """Multiply-adds of the encoder for one window, dense by PyTorch's counter, and with the ranks of `made`.

    A pivot layer counts k (D + O) - k^2 per frame, even if an engine runs it as a pair.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    rows: dict[str, int] = {}

    def count(name: str) -> Callable[..., None]:
        return lambda _, given: rows.__setitem__(name, given[0].numel() // given[0].shape[-1])

    hooks = {one.name: count(one.name) for one in made.reports if one.name in made.layers}
    counter = FlopCounterMode(display=False)  # the counter lacks the CPU's fused attention, so plain products are used
    with counter, sdpa_kernel(SDPBackend.MATH), hooked(study.subject.model, hooks, before=True):
        study.subject.encode(example)
    dense = int(counter.get_total_flops()) // 2
    spared = 0
    for one in made.reports:
        if one.name in rows and one.rank is not None and one.form is not None:
            weights = parameters_of(one.inputs, one.outputs, one.rank, one.form)
            spared += rows[one.name] * (one.inputs * one.outputs - weights)
    return dense, dense - spared
