"""LoRA by PEFT inside any module: add, list, merge into the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from .errors import MissingExtra, ModelError


@dataclass(frozen=True)
class Lora:
    """Options of low-rank adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    `alpha` 0 means the rank, so that the update is B A itself; twice that changed the weights of one model more than
    full fine-tuning. `targets` are last names of linear layers (`q_proj`); none means all except the output head.
    """

    r: int = 64
    alpha: int = 0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a config."""
        return {**asdict(self), "targets": list(self.targets)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Lora:
        """Options from a config's plain values."""
        return cls(**{**values, "targets": tuple(values["targets"])})


def add_lora(module: nn.Module, options: Lora) -> None:
    """Add new adapters, initially without effect, to the linear layers of a module, in place.

    Raises `ModelError` if no layer matches, `MissingExtra` without PEFT.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtra("LoRA", extra="train") from error
    names = _linear_layers(module, options.targets)
    alpha = options.alpha or options.r
    config = LoraConfig(r=options.r, lora_alpha=alpha, lora_dropout=options.dropout, target_modules=names)
    inject_adapter_in_model(config, module)


def lora_layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers of a module with adapters, by name; does not need PEFT."""
    for name, layer in module.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "get_delta_weight"):
            yield name, layer


def lora_update(layer: Any) -> Tensor:
    """The update of a layer's adapters to its weight: alpha / r * B A."""
    update: Tensor = layer.get_delta_weight("default")
    return update


@contextmanager
def without_lora(module: nn.Module) -> Iterator[None]:
    """A context without the adapters of a module; `requires_grad` is not changed."""
    layers = [layer for _, layer in lora_layers(module)]
    before = [layer.disable_adapters for layer in layers]
    for layer in layers:
        layer._disable_adapters = True  # PEFT's own switch also disables their gradients
    try:
        yield
    finally:
        for layer, off in zip(layers, before, strict=True):
            layer._disable_adapters = off


def folded_state(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The `state_dict` of a module with its adapters merged: W + alpha / r * B A."""
    plain = {name.replace(".base_layer.", "."): value for name, value in state.items() if "lora_" not in name}
    for name, layer in lora_layers(module):
        up, down = (state[f"{name}.lora_{side}.default.weight"] for side in "BA")
        weight = plain[f"{name}.weight"]
        plain[f"{name}.weight"] = weight + (layer.scaling["default"] * up @ down).to(weight.dtype)
    return plain


def fold_lora(module: nn.Module) -> None:
    """Merge each adapter into its weight and remove it, in place."""
    for name, layer in list(lora_layers(module)):
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, layer.get_base_layer())


def _linear_layers(module: nn.Module, targets: tuple[str, ...]) -> list[str]:
    head = getattr(module, "get_output_embeddings", lambda: None)()
    linear = [
        name for name, layer in module.named_modules() if isinstance(layer, nn.Linear) and layer is not head and name
    ]
    chosen = [name for name in linear if not targets or name.rpartition(".")[2] in targets]
    missing = set(targets) - {name.rpartition(".")[2] for name in linear}
    if missing or not chosen:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise ModelError(
            f"LoRA: {type(module).__name__} has no linear layer named {', '.join(sorted(missing)) or 'at all'}; "
            f"it has {known or 'none'}"
        )
    return chosen
