"""Low-rank replacements of a linear layer: both halves are ordinary `nn.Linear`, visible to other tools.

The layers themselves are in `modeling_linnet_low_rank`, the file that is saved with a model.

Shapes: D inputs, O outputs, k the rank. Weights have PyTorch's layout, [outputs, inputs].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import qr, solve_triangular
from torch import Tensor, nn

from linnet.models.lowrank.modeling_linnet_low_rank import (
    Form,
    PairLinear,
    PivotLinear,
    is_low_rank,
    low_rank_linear,
    plan_of,
)

LARGEST_COEFFICIENT = 64.0  # of a row as a combination of pivots: above it, rounding to 16 bits is noticeable


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
        """The weight [O, D] and bias [O] of the equivalent dense layer."""
        return self.second @ self.first, self.bias


def low_rank_layer(factors: Factors, form: Form) -> PairLinear | PivotLinear:
    """Create a layer of this form, with weights in the dtype of `factors`; the result's `form` is the actual one.

    For "pivot" the pivots are k rows of `second` by QR with column pivoting, in float64. It becomes a pair if that form
    is unsuitable: for k = O, if `second` has not rank k, and if other rows need coefficients above 64, which would
    amplify rounding. Raises `ValueError` as `low_rank_linear`.
    """
    rows = _pivot_rows(factors) if form == "pivot" else None
    outputs, inputs = int(factors.second.shape[0]), int(factors.first.shape[1])
    kind: Form = "pair" if rows is None else "pivot"
    layer = low_rank_linear(inputs, outputs, factors.rank, kind, bias=factors.bias is not None)
    layer = layer.to(device=factors.first.device, dtype=factors.first.dtype).requires_grad_(False)
    if isinstance(layer, PairLinear):
        layer.first.weight.copy_(factors.first)
        layer.second.weight.copy_(factors.second)
        if factors.bias is not None:
            layer.second.bias.copy_(factors.bias)
    elif rows is not None:
        _fill_pivots(layer, factors, *rows)
    return layer.requires_grad_(True)


def _pivot_rows(factors: Factors) -> tuple[Tensor, Tensor] | None:
    """The order [O] of the outputs, pivots first, and the other rows as combinations of them [O - k, k]; None if
    unsuitable."""
    rank, outputs = factors.rank, int(factors.second.shape[0])
    second = factors.second.detach().double().cpu().numpy()
    if rank >= outputs:
        return None
    upper, order = qr(second.T, mode="r", pivoting=True)
    diagonal = np.abs(np.diagonal(upper))
    if not np.isfinite(diagonal).all() or diagonal[-1] <= 1e-10 * diagonal[0]:
        return None
    coefficients = solve_triangular(upper[:, :rank], upper[:, rank:]).T
    if np.abs(coefficients).max() > LARGEST_COEFFICIENT:
        return None
    return torch.from_numpy(order.astype(np.int64)), torch.from_numpy(np.ascontiguousarray(coefficients))


def _fill_pivots(layer: PivotLinear, factors: Factors, order: Tensor, coefficients: Tensor) -> None:
    pivots, others = order[: factors.rank], order[factors.rank :]
    second = factors.second.double().cpu()
    layer.first.weight.copy_(second[pivots] @ factors.first.double().cpu())
    layer.rest.weight.copy_(coefficients)
    layer.order[order] = torch.arange(len(order), device=layer.order.device)
    if factors.bias is not None:
        bias = factors.bias.double().cpu()
        layer.first.bias.copy_(bias[pivots])
        layer.rest.bias.copy_(bias[others] - coefficients @ bias[pivots])


def replace_layers(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Replace modules by their dotted names. Raises `AttributeError` for a missing name."""
    for name, layer in layers.items():
        parent, _, own = name.rpartition(".")
        place: Any = model.get_submodule(parent)
        place.get_submodule(own)
        setattr(place, own, layer)


def parameters_of(inputs: int, outputs: int, rank: int, form: Form) -> int:
    """The number of weights (without biases) of a layer of this rank."""
    return rank * (inputs + outputs) - (rank * rank if form == "pivot" else 0)


__all__ = [
    "Factors",
    "Form",
    "PairLinear",
    "PivotLinear",
    "is_low_rank",
    "low_rank_layer",
    "low_rank_linear",
    "parameters_of",
    "plan_of",
    "replace_layers",
]
