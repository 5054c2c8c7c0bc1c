"""Rewrite low-rank layers to compute the same with less work. Weights are shared where possible.

Shapes: D width, k a rank, H heads, C channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from linnet.models.lowrank.layers import Factors, PairLinear, PivotLinear, low_rank_linear


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer with these weights, without a copy, not for training."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return made


def without_bias(layer: nn.Module) -> nn.Module:
    """The layer without its bias: for attention keys, whose bias adds the same to all scores of a query, which softmax
    ignores (factors of centered data give keys a bias that the dense layer lacks).

    A layer of another kind is returned unchanged.
    """
    if type(layer) is nn.Linear:
        return linear(layer.weight, None)
    if isinstance(layer, PairLinear):
        return _pair(layer.first, linear(layer.second.weight, None))
    if isinstance(layer, PivotLinear):
        return _pivot(linear(layer.first.weight, None), linear(layer.rest.weight, None), layer.order)
    return layer


def untangle(before: nn.Module, after: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Two layers with an activation between, the first of which outputs its pivots first, in computed order.

    The inputs of the second are reordered instead, at no cost. Layers of other kinds are unchanged.
    """
    if not isinstance(before, PivotLinear) or not isinstance(after, nn.Linear | PairLinear | PivotLinear):
        return before, after
    places = before.order.argsort()
    plain = torch.arange(len(before.order), device=before.order.device)
    first = after if isinstance(after, nn.Linear) else after.first
    moved = linear(first.weight[:, places], first.bias)
    if isinstance(after, PairLinear):
        rest: nn.Module = _pair(moved, after.second)
    elif isinstance(after, PivotLinear):
        rest = _pivot(moved, after.rest, after.order)
    else:
        rest = moved
    return _pivot(before.first, before.rest, plain), rest


MOVED, JOINED = 200, 150  # multiply-adds that cost as much as reordering, or only joining, one output


def for_frames(layer: nn.Module) -> nn.Module:
    """The layer in its fastest form for many frames.

    A pivot layer becomes two plain products, with k O multiply-adds for the second instead of k (O - k), unless k^2
    exceeds the cost of joining and reordering the outputs: 100 multiply-adds per output with OpenVINO in float32, 200
    in 8 bits and 230 with PyTorch; 90 to 190 if they may stay in computed order. Layers of other kinds are unchanged.
    """
    if not isinstance(layer, PivotLinear):
        return layer
    if layer.rank**2 > (JOINED if in_order(layer) else MOVED) * layer.out_features:
        return layer
    factors = factors_of(layer)
    assert factors is not None
    return _pair(linear(factors.first, None), linear(factors.second, factors.bias))


def in_order(layer: PivotLinear) -> bool:
    """Whether the outputs are in computed order, pivots first."""
    return bool((layer.order == torch.arange(len(layer.order), device=layer.order.device)).all())


def factors_of(layer: Any) -> Factors | None:
    """A low-rank layer as a product of two weights, with its bias; None for a layer of another kind."""
    if isinstance(layer, PairLinear):
        return Factors(layer.first.weight, layer.second.weight, layer.second.bias)
    if isinstance(layer, PivotLinear):
        eye = torch.eye(layer.rank, dtype=layer.rest.weight.dtype, device=layer.rest.weight.device)
        _, bias = layer.dense()
        second = torch.cat([eye, layer.rest.weight])[layer.order]
        return Factors(layer.first.weight, second, None if bias is None else bias.to(second.dtype))
    return None


def _pair(first: nn.Linear, second: nn.Linear) -> PairLinear:
    with torch.device("meta"):
        made = low_rank_linear(first.in_features, second.out_features, first.out_features, "pair")
    assert isinstance(made, PairLinear)
    made.first, made.second = first, second
    return made


def _pivot(first: nn.Linear, rest: nn.Linear, order: Tensor) -> PivotLinear:
    with torch.device("meta"):
        made = low_rank_linear(first.in_features, len(order), first.out_features, "pivot")
    assert isinstance(made, PivotLinear)
    made.first, made.rest, made.order = first, rest, order
    return made
