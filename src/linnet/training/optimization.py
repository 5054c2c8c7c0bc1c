"""Parameter groups and learning rates."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from linnet.errors import OptionError
from linnet.settings import did_you_mean
from linnet.training.options import Optimization

MODEL = "model"  # the attribute of a loss that holds the model


def parameter_groups(loss: nn.Module, options: Optimization) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, each part with its peak learning rate; only matrices decay.

    `loss` holds the model as `model`. The first two groups use `learning_rate`, two more follow for each of `rates`.
    Raises `OptionError` for an unknown part or one without trained parameters.
    """
    found: dict[str, list[Tensor]] = {part: [] for part in ("", *options.rates)}
    for name, value in loss.named_parameters():
        if value.requires_grad:
            found[max((part for part in options.rates if _holds(part, name)), key=len, default="")].append(value)
    groups: list[dict[str, Any]] = []
    for part, values in found.items():
        rate = options.rates.get(part, options.learning_rate)
        if part:
            _require(loss, part, trained=bool(values))
        matrices, rest = [v for v in values if v.dim() > 1], [v for v in values if v.dim() <= 1]
        groups.append({"params": matrices, "weight_decay": options.weight_decay, "lr": rate})
        groups.append({"params": rest, "weight_decay": 0.0, "lr": rate})
    return groups


def _holds(part: str, name: str) -> bool:
    """Whether a parameter of the loss belongs to a part of the model or beside it."""
    return name.startswith((f"{MODEL}.{part}.", f"{part}."))


def _require(loss: nn.Module, part: str, *, trained: bool) -> None:
    if not any(_holds(part, name) for name, _ in loss.named_parameters()):
        names = [name.removeprefix(f"{MODEL}.") for name, _ in loss.named_modules() if name not in ("", MODEL)]
        hint = did_you_mean(part, names, cutoff=0.0).strip(" ()")
        raise OptionError(f"optimization: rates: the model has no part {part!r}; {hint}")
    if not trained:
        raise OptionError(
            f"optimization: rates: nothing of {part!r} is trained: give it another policy in `freeze`, or leave its "
            "rate out."
        )


def cosine_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate of a step (from 0): linear warmup over the share `warmup`, then cosine decay to zero.

    >>> [round(cosine_rate(step, 10, 1.0, 0.2), 3) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def checkpoint_gradients(model: Any) -> None:
    """Turn on gradient checkpointing of a Transformers model."""
    name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    getattr(model, f"{name}_checkpointing_enable")({"use_reentrant": False})
