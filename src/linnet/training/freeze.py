"""Freeze policies, which parts of a model are trained: `frozen`, `all`, `top:4`, `lora(r=64)`.

Each part of a model (`encoder`, `projector`, `language_model`: any submodule path) has one policy. Frozen parts get no
gradient and stay in `eval()` through `model.train()`: no dropout, and fixed BatchNorm statistics (updating them raised
one model's error rate from 12 to 37 %). Trained weights are float32, since bfloat16 loses steps of Adam.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from linnet.errors import ModelError, OptionError
from linnet.models.fusion.adapters import Lora, add_lora, lora_layers, lora_update
from linnet.settings import did_you_mean
from linnet.training.sharding import full_tensor

REST = "rest"  # in counts: parameters outside all parts


@dataclass(frozen=True)
class FreezeAll:
    """Nothing is trained."""


@dataclass(frozen=True)
class TrainAll:
    """Everything is trained."""


@dataclass(frozen=True)
class TrainTop:
    """The last `layers` blocks of the largest stack are trained, except their BatchNorms; the rest is frozen."""

    layers: int


Policy = FreezeAll | TrainAll | TrainTop | Lora
_FORMS = "frozen, all, top:4 or lora(r=64, alpha=64, dropout=0.0, targets=q_proj+v_proj)"


def parse(text: str) -> Policy:
    """Parse a policy. Raises `OptionError` that quotes it and names the nearest.

    >>> parse("top:4")
    TrainTop(layers=4)
    >>> parse("lora(r=16, targets=q_proj+v_proj)")
    Lora(r=16, alpha=0, dropout=0.0, targets=('q_proj', 'v_proj'))
    """
    word, mark, given = re.fullmatch(r"\s*(\w*)\s*([:(]?)(.*)", str(text), re.DOTALL).groups()  # type: ignore[union-attr]
    if word in ("frozen", "all") and not mark and not given:
        return FreezeAll() if word == "frozen" else TrainAll()
    if word == "top" and mark == ":":
        return TrainTop(_whole(given, text, "top"))
    if word == "lora" and (mark == "(" or not given):
        if mark and not given.rstrip().endswith(")"):
            raise OptionError(f"freeze policy {text!r}: missing closing parenthesis")
        return _lora(given.rstrip()[:-1] if mark else "", text)
    hint = did_you_mean(word, ("frozen", "all", "top", "lora"))
    raise OptionError(f"unknown freeze policy {text!r}{hint}: expected {_FORMS}")


def _lora(given: str, text: str) -> Lora:
    known = [field.name for field in fields(Lora)]
    values: dict[str, Any] = {}
    for piece in filter(None, (piece.strip() for piece in given.split(","))):
        key, mark, value = (word.strip() for word in piece.partition("="))
        if key not in known or not mark or key in values:
            raise OptionError(
                f"freeze policy {text!r}: {piece!r} is not understood{did_you_mean(key, known)}; known are "
                f"{', '.join(known)}"
            )
        if key == "targets":
            values[key] = tuple(filter(None, (name.strip() for name in value.split("+"))))
        else:
            values[key] = _share(value, text) if key == "dropout" else _whole(value, text, key)
    return Lora(**values)


def _whole(value: str, text: str, name: str) -> int:
    if not re.fullmatch(r"\s*[1-9]\d*\s*", value):
        raise OptionError(f"freeze policy {text!r}: {name} must be a whole number of at least 1, got {value.strip()!r}")
    return int(value)


def _share(value: str, text: str) -> float:
    if not re.fullmatch(r"0?\.\d+|0", value):
        raise OptionError(f"freeze policy {text!r}: dropout must be from 0 to below 1, got {value!r}")
    return float(value)


def freeze(model: nn.Module, policies: Mapping[str, str | Policy]) -> None:
    """Apply a policy to each part of a model, in place; parameters outside all parts are frozen.

    Adapter options are stored in `model.config.adapters` if the config has that field; existing adapters with the same
    options are trained further. Raises `OptionError` for an unknown or nested part, or a policy that does not fit.
    """
    parts = {name: _part(model, name) for name in policies}
    for name in parts:
        if inside := [other for other in parts if name.startswith(f"{other}.")]:
            raise OptionError(
                f"freeze: {name!r} is a part of {inside[0]!r}, and each part has one policy: name one of them"
            )
    model.requires_grad_(False)
    for name, policy in policies.items():
        chosen = parse(policy) if isinstance(policy, str) else policy
        config: Any = getattr(model, "config", None)
        noted = getattr(config, "adapters", None) or {}
        _apply(parts[name], chosen, name, Lora.from_dict(noted[name]) if name in noted else None)
        if isinstance(chosen, Lora) and hasattr(config, "adapters"):
            config.adapters = {**noted, name: chosen.as_dict()}
    for module in model.modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(value.requires_grad for value in own):
            for value in own:
                value.data = value.data.float() if value.is_floating_point() else value.data
    model.train = MethodType(train, model)  # type: ignore[method-assign]
    model.train(model.training)


def train(self: nn.Module, mode: bool = True) -> nn.Module:
    """Like `nn.Module.train`, but modules whose parameters are all frozen stay in `eval()`."""
    self.training = mode
    for child in self.children():
        if any(True for _ in child.parameters()) and not any(value.requires_grad for value in child.parameters()):
            for layer in child.modules():
                layer.training = mode and _recomputes(layer)
        else:
            train(child, mode)
    return self


def _recomputes(layer: nn.Module) -> bool:
    """Whether a frozen layer without dropout is gradient-checkpointed.

    Transformers recomputes a layer only if its own flag says training, and gradients of trained parts below pass
    through frozen layers too. The modules within the layer stay in `eval()`.
    """
    drops = any(isinstance(value, float) and value > 0 for name, value in vars(layer).items() if "drop" in name)
    return isinstance(layer, GradientCheckpointingLayer) and layer.gradient_checkpointing and not drops


def _apply(module: nn.Module, policy: Policy, name: str, adapters: Lora | None = None) -> None:
    """Apply a policy; `adapters` are the options of the part's existing adapters."""
    if isinstance(policy, TrainAll):
        module.requires_grad_(True)
    elif isinstance(policy, TrainTop):
        blocks = _blocks(module)
        if len(blocks) < policy.layers:
            raise OptionError(
                f"freeze: {name} is top:{policy.layers}, and {type(module).__name__} has {len(blocks)} layers"
            )
        for block in blocks[len(blocks) - policy.layers :]:
            block.requires_grad_(True)
            for norm in (part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)):
                norm.requires_grad_(False)
    elif isinstance(policy, Lora):
        _adapt(module, policy, name, adapters)
        for key, value in module.named_parameters():
            value.requires_grad_("lora_" in key)


def _adapt(module: nn.Module, policy: Lora, name: str, adapters: Lora | None) -> None:
    if not any(True for _ in lora_layers(module)):
        try:
            add_lora(module, policy)
        except ModelError as error:
            raise OptionError(f"freeze: {name}: {error}") from error
    elif policy != adapters:
        there = "" if adapters is None else f" ({_text(adapters)})"
        raise OptionError(
            f"freeze: {name} already has adapters{there}: give the same options to train them further, or "
            "merge them with `linnet models merge` first"
        )


def _text(lora: Lora) -> str:
    """The policy as written in a recipe."""
    given = {
        field.name: getattr(lora, field.name) for field in fields(Lora) if getattr(lora, field.name) != field.default
    }
    given = {"r": lora.r} | given | ({"targets": "+".join(lora.targets)} if lora.targets else {})
    return f"lora({', '.join(f'{key}={value}' for key, value in given.items())})"


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The stack of blocks with the most parameters."""
    stacks: list[Any] = [
        stack for stack in module.modules() if type(stack) is nn.ModuleList
    ]  # parametrizations are lists too
    largest: Any = max(stacks, key=lambda stack: sum(value.numel() for value in stack.parameters()), default=[])
    return list(largest)


def _part(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        known = [child for child, _ in model.named_children()]
        raise OptionError(
            f"freeze: {type(model).__name__} has no part {name!r}{did_you_mean(name, known)}; its parts are "
            f"{', '.join(known)}"
        ) from None


# --- counts and drift


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters; shared ones count once."""

    trained: int
    frozen: int


def counts(model: nn.Module, parts: Mapping[str, Any]) -> dict[str, ParameterCount]:
    """Parameters of each part, and of everything else as `rest` (omitted if empty)."""
    found: dict[str, list[Tensor]] = {name: [] for name in (*parts, REST)}
    for name, value in model.named_parameters():
        found[_owner(name, parts)].append(value)
    made = {
        part: ParameterCount(
            sum(value.numel() for value in values if value.requires_grad),
            sum(value.numel() for value in values if not value.requires_grad),
        )
        for part, values in found.items()
    }
    return {part: count for part, count in made.items() if part != REST or count.trained or count.frozen}


class WeightDrift:
    """The relative change of the trained weights of each part since this was created.

    For adapters it is their update relative to the adapted weights. Initial weights are kept on the CPU. Part names are
    those of `freeze`.
    """

    def __init__(self, model: nn.Module, parts: Mapping[str, Any]) -> None:
        self._model = model
        self._parts = tuple(parts)
        self._start = {
            name: full_tensor(value.detach()).to("cpu", torch.float32, copy=True)
            for name, value in model.named_parameters()
            if value.requires_grad and "lora_" not in name
        }

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """||w - w0|| / ||w0|| over the trained weights of each part with some (Frobenius norms)."""
        moved: dict[str, float] = {}
        whole: dict[str, float] = {}
        for name, change, start in self._changes():
            part = _owner(name, self._parts)
            moved[part] = moved.get(part, 0.0) + float(change.double().square().sum())
            whole[part] = whole.get(part, 0.0) + float(start.double().square().sum())
        return {part: (moved[part] / max(whole[part], 1e-30)) ** 0.5 for part in moved}

    def _changes(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        now = dict(self._model.named_parameters())
        for name, start in self._start.items():
            yield name, full_tensor(now[name].detach()).to("cpu", torch.float32) - start, start
        for name, layer in lora_layers(self._model):
            yield name, full_tensor(lora_update(layer)).float(), full_tensor(layer.get_base_layer().weight).float()


def _owner(name: str, parts: Any) -> str:
    return next((part for part in parts if name.startswith(f"{part}.")), REST)
