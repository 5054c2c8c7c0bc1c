"""Low-rank replacements of a linear layer: both halves are ordinary `nn.Linear`, so that other tools see them.

Shapes: D inputs, O outputs, k the rank. Weights are laid out as PyTorch does: [outputs, inputs].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Form = Literal["pair", "pivot"]


@dataclass(frozen=True)
class Factors:
    """A linear layer as a product: y = second (first x) + bias, with `first` [k, D], `second` [O, k], `bias` [O]."""

    first: Tensor
    second: Tensor
    bias: Tensor | None

    @property
    def rank(self) -> int:
        """The inner width k."""
        return int(self.first.shape[0])

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """The weight [O, D] and bias [O] of the one layer that computes the same."""
        return self.second @ self.first, self.bias


class PairLinear(nn.Module):
    """Two thin layers in a row: D to k without a bias, k to O. Costs k (D + O) parameters."""

    form: Form = "pair"

    def __init__(self, inputs: int, outputs: int, rank: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = inputs, outputs, rank
        self.first = nn.Linear(inputs, rank, bias=False)
        self.second = nn.Linear(rank, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., O]."""
        y: Tensor = self.second(self.first(x))
        return y


class PivotLinear(nn.Module):
    """k of the outputs computed as they are, and the others from those: k (D + O) - k^2 parameters (PIFA).

    `first` [k, D] holds the pivot rows of the dense weight, `rest` [O - k, k] the other rows as combinations of them.
    Output i is entry `order[i]` of (pivots, rest). Source: Zhao et al., "PIFA", arXiv 2501.19090, section 3.
    """

    form: Form = "pivot"
    order: Tensor

    def __init__(self, inputs: int, outputs: int, rank: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = inputs, outputs, rank
        self.first = nn.Linear(inputs, rank, bias=bias)
        self.rest = nn.Linear(rank, outputs - rank, bias=bias)
        self.register_buffer("order", torch.arange(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., O]."""
        pivots = self.first(x)
        return torch.cat([pivots, self.rest(pivots)], -1).index_select(-1, self.order)


def low_rank_linear(inputs: int, outputs: int, rank: int, form: Form, *, bias: bool = True) -> PairLinear | PivotLinear:
    """An empty layer of one of the forms. Raises `ValueError` for a rank that is not between 1 and both widths."""
    if not 1 <= rank <= min(inputs, outputs) - (form == "pivot" and rank == outputs):
        raise ValueError(f"rank {rank} does not fit a layer of {inputs} inputs and {outputs} outputs in {form} form")
    kind = PairLinear if form == "pair" else PivotLinear
    return kind(inputs, outputs, rank, bias=bias)


def replace_layers(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put modules in the places of others, by their dotted names. Raises `AttributeError` for a name not there."""
    for name, layer in layers.items():
        parent, _, own = name.rpartition(".")
        place: Any = model.get_submodule(parent)
        place.get_submodule(own)
        setattr(place, own, layer)


def parameters_of(inputs: int, outputs: int, rank: int, form: Form) -> int:
    """Weights (no biases) that a layer of this rank holds."""
    return rank * (inputs + outputs) - (rank * rank if form == "pivot" else 0)
