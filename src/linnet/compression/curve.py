"""How much of the encoder can go before it shows: held-out divergence and work over sizes, by budget and by LiteASR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from linnet.compression.allocation import PRESETS
from linnet.compression.job import Compressed, CompressOptions, Study, compress, put_in
from linnet.compression.subject import Example
from linnet.errors import OptionError
from linnet.notices import Notify, ignore

BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


@dataclass(frozen=True)
class Point:
    """One size: the share of the encoder's parameters that is left, and the divergence in nats on held-out windows."""

    name: str
    share: float
    divergence: float


def size_curve(
    study: Study, options: CompressOptions, budgets: Sequence[float] = BUDGETS, notify: Notify | None = None
) -> dict[str, list[Point]]:
    """Points of the options' own method at several budgets, and of LiteASR's rule at its presets, large to small.

    A budget that cannot be met ends the first line. The study's model is left as it was.
    """
    say = notify or ignore
    own, rule = [], []
    for budget in budgets:
        say(f"trying a budget of {budget:g}")
        try:
            made = compress(study, replace(options, thresholds=None, latency=None, budget=budget))
        except OptionError:  # smaller ones cannot be met either
            break
        own.append(Point(f"{budget:g}", made.share, made.divergence))
    for name in PRESETS:
        say(f"trying LiteASR's preset {name}")
        made = compress(study, CompressOptions.preset(name))
        rule.append(Point(name, made.share, made.divergence))
    return {"budget": own, "LiteASR's rule": rule}


@torch.no_grad()
def multiply_adds(study: Study, made: Compressed, example: Example) -> tuple[int, int]:
    """Multiply-adds of the encoder for one window, dense and compressed, as PyTorch's own counter finds them."""
    dense = _count(study, example)
    with put_in(study.subject, made.layers):
        return dense, _count(study, example)


def _count(study: Study, example: Example) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        study.subject.encode(example)
    return int(counter.get_total_flops()) // 2
