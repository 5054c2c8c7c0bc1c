"""Low-rank layers rewritten so that an engine computes the same with less work. Weights are shared where they can be.

Shapes: D width, k a rank, H heads, C channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from linnet.models.lowrank.layers import Factors, PairLinear, PivotLinear, low_rank_linear


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer that holds just these, without a copy, and is never trained."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return made


def without_bias(layer: nn.Module) -> nn.Module:
    """The layer without its bias: for attention's keys, where it adds the same to all scores of a query.

    Softmax does not see that (the note of `PairLinear` factors of centered data: they give keys a bias that the dense
    layer has not). A layer of another kind than ours is given back as it is.
    """
    if type(layer) is nn.Linear:
        return linear(layer.weight, None)
    if isinstance(layer, PairLinear):
        return _pair(layer.first, linear(layer.second.weight, None))
    if isinstance(layer, PivotLinear):
        return _pivot(linear(layer.first.weight, None), linear(layer.rest.weight, None), layer.order)
    return layer


def untangle(before: nn.Module, after: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Two layers with an activation between, the first of which gives its pivots first, as they are computed.

    The order goes into the inputs of the second instead, which costs nothing. Layers of other kinds stay as they are.
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


MOVED, JOINED = 200, 150  # multiply-adds that take as long as one output that is moved to its place, or only joined


def for_frames(layer: nn.Module) -> nn.Module:
    """The layer in the form that an engine computes fastest over many frames.

    A pivot layer is two plain products, k O multiply-adds for the second instead of k (O - k), but where k^2 is worth
    more than what it takes to join the pivots and the other outputs and to put them in order: 100 multiply-adds an
    output with OpenVINO in float32, 200 in 8 bits and 230 with PyTorch; 90 to 190 where they may stay in the order in
    which they are computed. Layers of other kinds stay as they are.
    """
    if not isinstance(layer, PivotLinear):
        return layer
    if layer.rank**2 > (JOINED if in_order(layer) else MOVED) * layer.out_features:
        return layer
    factors = factors_of(layer)
    assert factors is not None
    return _pair(linear(factors.first, None), linear(factors.second, factors.bias))


def in_order(layer: PivotLinear) -> bool:
    """Whether the outputs are in the order in which they are computed, pivots first."""
    return bool((layer.order == torch.arange(len(layer.order), device=layer.order.device)).all())


def factors_of(layer: Any) -> Factors | None:
    """A low-rank layer as one product of two weights, and its whole bias; None for a layer of another kind."""
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
