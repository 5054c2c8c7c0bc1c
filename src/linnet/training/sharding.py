"""Sharding weights over processes (FSDP2), and gathering them for saving and decoding.

The loss module is the root: its blocks are gathered one at a time while in use, all other weights for the whole batch.
Gradients are summed, not averaged, since the loss is already divided by the label tokens of all processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from linnet.errors import OptionError


def shard(module: nn.Module, kind: str, device: torch.device) -> bool:
    """Move a module to this process's device and shard its weights, in place; returns whether it was sharded.

    `none` shards nothing, `trained` only trained weights, `all` also frozen ones; a single process shards nothing.
    Raises `OptionError` if PyTorch is too old.
    """
    split = kind != "none" and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    if split:
        frozen = {value for value in module.parameters() if not value.requires_grad}
        _split(module, set() if kind == "all" else frozen, device)
    module.to(device)  # the rest
    return split


def _split(module: nn.Module, ignored: set[nn.Parameter], device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise OptionError(f"run: shard needs PyTorch 2.9 or newer, and this is {torch.__version__}.")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for unit in (*blocks(module), module):
        if any(value not in ignored for value in unit.parameters()):
            fully_shard(unit, mesh=mesh, ignored_params=ignored)
    for unit in _units(module):
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)


def blocks(module: nn.Module) -> list[nn.Module]:
    """The transformer layers that run once per batch.

    Parts whose number of passes depends on the audio (`varying_passes` of the model) are gathered as a whole, or
    processes would wait for each other.
    """
    varying = {
        layer
        for owner in module.modules()
        for name in getattr(owner, "varying_passes", ())
        for layer in owner.get_submodule(name).modules()
    }
    return [
        layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer) and layer not in varying
    ]


def _units(module: nn.Module) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [unit for unit in module.modules() if isinstance(unit, FSDPModule)]


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Gather all weights on each process for a while; collective. Weights must not be changed meanwhile."""
    units = _units(module)
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(unit is not module, recurse=False)
            unit.reshard()


# --- tensors


def full_tensor(value: Tensor) -> Tensor:
    """A tensor gathered from all processes; collective."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full


def whole_tree(tree: Any, keep: bool = True) -> Any:
    """Gather all tensors in dicts and lists; sharded ones go to the CPU, or are dropped without `keep`."""
    if isinstance(tree, Mapping):
        return {key: whole_tree(value, keep) for key, value in tree.items()}
    if isinstance(tree, list):
        return [whole_tree(value, keep) for value in tree]
    if not hasattr(tree, "full_tensor"):
        return tree
    full = full_tensor(tree.detach())
    return full.cpu() if keep else None


def whole_state(model: nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """The `state_dict` of a model with sharded weights gathered to the CPU (dropped without `keep`); collective.

    Tied weights stay one tensor.
    """
    done: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in done:
            done[id(value)] = whole_tree(value.detach(), keep)
        state[name] = done[id(value)]
    return state


def shard_like(value: Tensor, own: Tensor) -> Tensor:
    """A full tensor moved to the device of `own` and sharded like it; collective."""
    if not hasattr(own, "full_tensor") or hasattr(value, "full_tensor"):
        return value.to(own.device)
    from torch.distributed.tensor import distribute_tensor

    given: Any = own
    return distribute_tensor(value.to(own.device), given.device_mesh, given.placements)


def like_parameters(state: dict[str, Any], parameters: Sequence[Tensor]) -> dict[str, Any]:
    """An optimizer's state with moments sharded like the parameters, given in the optimizer's order."""
    moments = {
        number: {
            name: shard_like(value, parameters[number]) if isinstance(value, Tensor) and value.dim() else value
            for name, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    return {**state, "state": moments}
