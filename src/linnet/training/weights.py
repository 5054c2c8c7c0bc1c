"""Trained weights: extracting, loading, swapping with their moving average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from linnet.errors import OptionError
from linnet.training.sharding import shard_like


def trained(module: nn.Module) -> dict[str, Tensor]:
    """Parameters with gradients and their modules' buffers, by name, not copied."""
    weights = {name: value for name, value in module.named_parameters() if value.requires_grad}
    owners = {name.rpartition(".")[0] for name in weights}
    buffers = {name: value for name, value in module.named_buffers() if name.rpartition(".")[0] in owners}
    return {name: value.detach() for name, value in (weights | buffers).items()}


def part_of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of one part, by its own names."""
    return {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}


def load_trainable(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights of `trained` back. Raises `OptionError` for those of another model or policy."""
    own = trained(module)
    odd = sorted(own.keys() ^ weights.keys()) or sorted(n for n in own if own[n].shape != weights[n].shape)
    if odd:
        raise OptionError(
            f"the checkpoint is of another model or freeze policy than this recipe's (first difference: {odd[0]}): "
            "resume with its original recipe, or choose another `output`."
        )
    for name, value in own.items():
        value.copy_(shard_like(weights[name], value))


@contextmanager
def swapped_weights(module: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Temporarily load these weights (a moving average); without any, nothing changes."""
    if not weights:
        yield
        return
    kept = {name: value.clone() for name, value in trained(module).items()}
    load_trainable(module, weights)
    try:
        yield
    finally:
        load_trainable(module, kept)
