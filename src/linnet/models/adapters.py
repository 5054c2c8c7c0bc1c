"""Adapters as PEFT saves them, merged into a model's weights. PEFT itself is not needed.

Shapes: O outputs, K inputs, r rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnet.errors import ModelError
from linnet.models.json_files import read_json
from linnet.models.loading import first_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / CONFIG).is_file()


def weights_of(folder: Path) -> Path:
    """The file of an adapter's weights. Raises `ModelError` where it is missing."""
    if not (folder / WEIGHTS).is_file():
        raise _unfit(folder, f"{WEIGHTS} is missing: copy it from where the adapter was made")
    return folder / WEIGHTS


def merge_adapter(module: Any, folder: Path) -> None:
    """Add the LoRA updates in a folder to the weights of a module, in place: W + alpha / r B A.

    W [O, K], A [r, K], B [O, r] (Hu et al. 2021, https://arxiv.org/abs/2106.09685); with `use_rslora` alpha is divided
    by the root of r. Weights that were trained whole (`modules_to_save`) replace the module's. Raises `ModelError`
    that names the folder where a file is missing or damaged, the adapter is of a kind other than LoRA on linear layers,
    or it is of another model.
    """
    import torch

    config, tensors = read_adapter(folder)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name in sorted(tensors):
            layer, kind = _place(name)
            if kind == "B":  # taken with its A
                continue
            weight = parameters.get(layer if kind == "whole" else f"{layer}.weight")
            if weight is None:
                raise _unfit(folder, f"the model has no layer {layer}: it is of another model")
            update = tensors[name].float() if kind == "whole" else _update(config, tensors, name, folder)
            if update.shape != weight.shape:
                raise _unfit(
                    folder, f"{name} does not fit layer {layer} of {list(weight.shape)}: it is of another model"
                )
            weight.copy_((update if kind == "whole" else weight.float() + update).to(weight.dtype))


def _update(config: Mapping[str, Any], tensors: Mapping[str, Any], name: str, folder: Path) -> Any:
    """alpha / r B A [O, K], `name` being that of A."""
    down, up = tensors[name], tensors.get(name.replace("lora_A", "lora_B"))
    if up is None or down.ndim != 2 or up.ndim != 2 or up.shape[1] != len(down):
        raise _unfit(folder, f"{name} is no LoRA of a linear layer")
    return _scale(config, _place(name)[0], rank=len(down)) * (up.float() @ down.float())


def read_adapter(folder: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The settings and weights of a LoRA. Raises `ModelError` for missing or damaged files, and other adapters."""
    from safetensors.torch import load_file

    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("fan_in_fan_out"):
        raise _unfit(folder, "only plain LoRA can be merged")
    path = weights_of(folder)
    try:
        return config, load_file(path)
    except Exception as error:  # safetensors' errors share no base
        raise _unfit(folder, f"{WEIGHTS} is damaged ({first_line(error)}): copy it again") from error


def _place(name: str) -> tuple[str, str]:
    """The layer that a tensor belongs to, and what of it: A, B, or a whole weight.

    >>> _place("base_model.model.model.encoder.layers.0.fc1.lora_A.weight")
    ('model.encoder.layers.0.fc1', 'A')
    """
    bare = name.removeprefix(_PREFIX)
    found = re.fullmatch(r"(.*)\.lora_([AB])\.weight", bare)
    return (found[1], found[2]) if found else (bare, "whole")


def _scale(config: Mapping[str, Any], layer: str, *, rank: int) -> float:
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    matching = (alpha for pattern, alpha in patterns.items() if re.fullmatch(rf"(.*\.)?({pattern})", layer))
    alpha = float(next(matching, config.get("lora_alpha", 8)))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _unfit(folder: Path, why: str) -> ModelError:
    return ModelError(f"adapter {folder} cannot be used: {why}")
