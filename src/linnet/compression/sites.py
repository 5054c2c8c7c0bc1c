"""Find the linear layers of a model that can be factored, and those that share an input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from linnet.compression.subject import Example, Subject
from linnet.errors import ModelError

Kind = Literal["attention", "mlp"]
_ATTENTION = ("attn", "attention")
_POSITIONS = ("relative", "pos")  # projections of positions, not of frames: no gain


@dataclass(frozen=True)
class Site:
    """A linear layer: `name` in the whole model, widths, and the first site with the same input."""

    name: str
    inputs: int
    outputs: int
    kind: Kind
    shares: str

    @property
    def weights(self) -> int:
        """Parameters of the dense layer, without its bias."""
        return self.inputs * self.outputs


def find_sites(subject: Subject, example: Example, part: Literal["encoder", "decoder"] = "encoder") -> list[Site]:
    """The linear layers within the repeated blocks of the encoder (or decoder), in the order in which they run.

    One pass over the example shows which ones run once, and which ones share an input. Raises `ModelError` that names
    the required modules if there are none.
    """
    module = subject.encoder if part == "encoder" else subject.decoder
    linears = {} if module is None else _block_linears(subject.path(module), module)
    seen: list[tuple[str, Tensor]] = []
    hooks = [layer.register_forward_pre_hook(_remember(seen, name)) for name, layer in linears.items()]
    try:
        with torch.no_grad():
            subject.encode(example) if part == "encoder" else subject.logits(example)
    finally:
        for hook in hooks:
            hook.remove()
    first: dict[int, str] = {}  # by the identity of the input, which `seen` keeps alive
    sites = []
    for name, given in seen:
        layer, shares = linears[name], first.setdefault(id(given), name)
        kind: Kind = "attention" if any(word in name for word in _ATTENTION) else "mlp"
        sites.append(Site(name, layer.in_features, layer.out_features, kind, shares))
    if not sites:
        raise ModelError(
            f"{subject.name}: nothing in its {part} can be compressed: looked for linear layers (torch.nn.Linear) in a "
            f"list of repeated blocks (torch.nn.ModuleList) of {type(module).__name__}, and found none that runs"
        )
    return sites


def _block_linears(path: str, module: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers inside lists of blocks, by their names in the whole model."""
    blocks = [name for name, found in module.named_modules() if isinstance(found, nn.ModuleList)]
    found = {}
    for name, layer in module.named_modules():
        own = name.rpartition(".")[2]
        inside = any(name.startswith(f"{block}.") for block in blocks)
        if isinstance(layer, nn.Linear) and inside and not any(word in own for word in _POSITIONS):
            found[f"{path}.{name}" if path else name] = layer
    return found


def _remember(seen: list[tuple[str, Tensor]], name: str) -> Callable[..., None]:
    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if all(name != before for before, _ in seen):
            seen.append((name, given[0]))

    return hook


@contextmanager
def hooked(model: Any, hooks: dict[str, Callable[..., Any]], *, before: bool = False) -> Iterator[None]:
    """A context with forward hooks on parts of a model, by name."""
    handles = []
    try:
        for name, hook in hooks.items():
            layer = model.get_submodule(name)
            handles.append(layer.register_forward_pre_hook(hook) if before else layer.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def dense_of(subject: Subject, site: Site) -> nn.Linear:
    """The layer at a site. Raises `TypeError` if it is not dense."""
    layer = subject.model.get_submodule(site.name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{site.name} is a {type(layer).__name__}, not a dense layer")
    return layer
