"""The effect of an error in each layer's output on the transcript: the Fisher information of the outputs.

For outputs y [n, O] of a layer, g = d loss / d y of the log-likelihood of labels that are *sampled* from the model's
own predictions, and G = E[g g^T] over frames: an error e costs e^T G e / 2 nats per frame to second order, for
independent errors of frames (Martens 2020, https://arxiv.org/abs/1412.1193, section 8; with labels from the data it
would be the empirical Fisher). No transcripts are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from linnet.compression.calibration import rows_of
from linnet.compression.sites import Site, dense_of, hooked
from linnet.compression.subject import Example, Subject


def fisher(
    subject: Subject,
    examples: Iterable[Example],
    sites: Sequence[Site],
    *,
    seed: int = 0,
    include_padding: bool = False,
) -> dict[str, Tensor]:
    """G [O, O] of each site's outputs, in the model's own precision, by name. The examples have their transcripts.

    Padding frames count only with `include_padding`. The model's gradients are unchanged.
    """
    precision = {site.name: dense_of(subject, site).weight.dtype for site in sites}
    sums = {site.name: torch.zeros(site.outputs, site.outputs, dtype=precision[site.name]) for site in sites}
    counts = dict.fromkeys(sums, 0)
    generator = torch.Generator().manual_seed(seed)
    padding: list[Example | None] = [None]
    hooks = {name: _listening(name, sums, counts, padding) for name in sums}
    with torch.enable_grad(), hooked(subject.model, hooks):
        for example in examples:
            padding[0] = None if include_padding else example
            sampled_loss(subject.logits(differentiable(example)), generator).backward()  # type: ignore[no-untyped-call]
    return {name: total.div_(max(counts[name], 1)) for name, total in sums.items()}


def sampled_loss(logits: Tensor, generator: torch.Generator) -> Tensor:
    """The summed negative log-likelihood of labels sampled from these predictions [L, V]."""
    logs = logits.float().log_softmax(-1)
    drawn = torch.multinomial(logs.detach().exp(), 1, generator=generator)
    return -logs.gather(-1, drawn).sum()


def differentiable(example: Example) -> Example:
    """The example with differentiable features, so that all layers get gradients although weights are frozen."""
    features = {
        name: value.detach().clone().requires_grad_() if value.is_floating_point() else value
        for name, value in example.features.items()
    }
    return replace(example, features=features)


def _listening(
    name: str, sums: dict[str, Tensor], counts: dict[str, int], padding: list[Example | None]
) -> Callable[..., None]:
    def add(gradient: Tensor) -> None:
        rows = rows_of(gradient, padding[0])
        sums[name].addmm_(rows.T, rows)  # in the model's own precision: no mean is subtracted
        counts[name] += len(rows)

    def hook(_: nn.Module, __: Any, made: Tensor) -> None:
        if made.requires_grad:
            made.register_hook(add)  # type: ignore[no-untyped-call]

    return hook
