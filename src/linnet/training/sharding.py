"""Weights split over processes (FSDP2): which of them, and how they become whole again for a file or for decoding.

The loss module is the root: its blocks are gathered one at a time while they are used, all other weights for as long
as a batch takes. Gradients are summed, not averaged: the loss is divided by the label tokens of all processes already.
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
    """Move a module to this process's device and split its weights over all processes, in place; whether it did.

    `none` splits nothing, `trained` what takes a gradient (frozen weights stay whole on each process), `all` both. A
    single process splits nothing. Raises `OptionError` for a PyTorch that is too old.
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
    """The transformer layers that each batch goes through once.

    A part that a batch may pass through more or less often, as its sounds are long or short (`varying_passes` of the
    model that holds it), would have processes wait for each other: it is gathered as a whole.
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
    """While it is open each process has all weights, and its forward passes wait for no other.

    All processes open and close it together. Weights are not to be changed in it.
    """
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
    """A tensor with all its pieces; all processes call it together."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full


def whole_tree(tree: Any, keep: bool = True) -> Any:
    """The same for all tensors in dicts and lists; those that were split go to the CPU, or nowhere without `keep`."""
    if isinstance(tree, Mapping):
        return {key: whole_tree(value, keep) for key, value in tree.items()}
    if isinstance(tree, list):
        return [whole_tree(value, keep) for value in tree]
    if not hasattr(tree, "full_tensor"):
        return tree
    full = full_tensor(tree.detach())
    return full.cpu() if keep else None


def whole_state(model: nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """All weights of a model by name, as `state_dict` has them; those that were split are gathered to the CPU.

    All processes call it together; without `keep` what was gathered is dropped. Tied weights stay one tensor.
    """
    done: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in done:
            done[id(value)] = whole_tree(value.detach(), keep)
        state[name] = done[id(value)]
    return state


def shard_like(value: Tensor, own: Tensor) -> Tensor:
    """A whole tensor on the device of `own`, and split as that is; all processes call it together with one value."""
    if not hasattr(own, "full_tensor") or hasattr(value, "full_tensor"):
        return value.to(own.device)
    from torch.distributed.tensor import distribute_tensor

    given: Any = own
    return distribute_tensor(value.to(own.device), given.device_mesh, given.placements)


def like_parameters(state: dict[str, Any], parameters: Sequence[Tensor]) -> dict[str, Any]:
    """The state of an optimizer with moments split as the parameters are, which come in the optimizer's order."""
    moments = {
        number: {
            name: shard_like(value, parameters[number]) if isinstance(value, Tensor) and value.dim() else value
            for name, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    return {**state, "state": moments}
