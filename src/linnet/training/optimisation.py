"""How weights move: which of them decay, and the learning rate of a step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor


def parameter_groups(parameters: Iterable[Tensor], decay: float) -> list[dict[str, Any]]:
    """What takes a gradient, for an optimiser: weight decay for matrices only."""
    trained = [value for value in parameters if value.requires_grad]
    return [
        {"params": [value for value in trained if value.dim() > 1], "weight_decay": decay},
        {"params": [value for value in trained if value.dim() <= 1], "weight_decay": 0.0},
    ]


def cosine_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate of a step (from 0): a linear rise over the share `warmup`, then half a cosine towards zero.

    >>> [round(cosine_rate(step, 10, 1.0, 0.2), 3) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def checkpoint_gradients(model: Any) -> None:
    """Let a Transformers model keep no activations inside its layers, and make them again for the gradient."""
    name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    getattr(model, f"{name}_checkpointing_enable")({"use_reentrant": False})
