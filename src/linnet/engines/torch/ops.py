"""Matrix products and attention of the torch engine, each in the fastest form on the device.

Shapes: R rows, K inputs, O outputs; N sequences, H heads, L queries, S keys, C channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.models.lowrank.layers import PairLinear, PivotLinear
from linnet.models.lowrank.rewriting import in_order

PACK_ROWS = 64  # the row count that a packed weight is optimized for; good from 1 to at least 64


@lru_cache(maxsize=8)
def has_onednn(dtype: torch.dtype) -> bool:
    """Whether torch's oneDNN product with a fused bias and GELU runs on this CPU with correct results.

    It reads weights at twice the bandwidth of `functional.linear` for few rows, and packed ones four times as fast. The
    operators are internal to torch's compiler, so they are tested first.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    weight = torch.linspace(-1, 1, 32 * 16).view(32, 16).to(dtype)
    rows = torch.linspace(-1, 1, 3 * 16).view(3, 16).to(dtype)
    bias = torch.ones(32, dtype=dtype)
    try:
        ops = torch.ops.mkldnn
        got = ops._linear_pointwise(rows, ops._reorder_linear_weight(weight, PACK_ROWS), bias, "gelu", [], "none")
    except (AttributeError, RuntimeError):
        return False
    want = functional.gelu(functional.linear(rows.float(), weight.float(), bias.float()))
    return bool(torch.allclose(got.float(), want, atol=0.1 if dtype == torch.bfloat16 else 1e-4))


class Product:
    """`gelu?(x @ weight.T + bias)` with a constant weight [O, K].

    On a CPU with oneDNN, the weight is read in place for one row, and from a packed copy, made by `pack`, for several.
    Elsewhere it is `functional.linear`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> None:
        self.weight, self.bias, self.gelu = weight, bias, gelu
        self._packed: Tensor | None = None
        self._onednn = weight.device.type == "cpu" and has_onednn(weight.dtype)
        self._pointwise = torch.ops.mkldnn._linear_pointwise if self._onednn else None
        self._activation, self._algorithm = ("gelu", "none") if gelu else ("none", "")
        if weight.dtype == torch.bfloat16:
            self.pack()

    def pack(self) -> None:
        """Keep a copy of the weight in the fastest layout for several rows."""
        if self._onednn and self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous(), PACK_ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to [..., K]; returns [..., O]."""
        if self._pointwise is not None:
            weight = self.weight
            if self._packed is not None and (x.shape[:-1].numel() > 1 or x.dtype != torch.float32):
                weight = self._packed
            result: Tensor = self._pointwise(x, weight, self.bias, self._activation, [], self._algorithm)
            return result
        y = functional.linear(x, self.weight, self.bias)
        return functional.gelu(y) if self.gelu else y


Apply = Callable[[Tensor], Tensor]


class Pair:
    """Two consecutive products: a low-rank layer."""

    def __init__(self, first: Product, second: Apply) -> None:
        self.first, self.second = first, second

    def pack(self) -> None:
        """See `Product`."""
        pack(self.first, self.second)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to [..., K]; returns [..., O]."""
        return self.second(self.first(x))


class Rest:
    """From the pivots [..., k] of a layer to all its outputs [..., O], with an optional GELU."""

    def __init__(self, layer: PivotLinear, *, gelu: bool = False) -> None:
        self.rest, self.gelu = Product(layer.rest.weight, layer.rest.bias, gelu=gelu), gelu
        self.order = None if in_order(layer) else layer.order

    def pack(self) -> None:
        """See `Product`."""
        self.rest.pack()

    def __call__(self, pivots: Tensor) -> Tensor:
        """Apply."""
        made = torch.cat([functional.gelu(pivots) if self.gelu else pivots, self.rest(pivots)], -1)
        return made if self.order is None else made.index_select(-1, self.order)


class Fused:
    """The concatenated outputs of layers with the same input: one product for all, then the second halves."""

    def __init__(self, modules: Sequence[Any]) -> None:
        firsts = [module if type(module) is nn.Linear else module.first for module in modules]
        biases = [f.weight.new_zeros(f.out_features) if f.bias is None else f.bias for f in firsts]
        self.widths = [first.out_features for first in firsts]
        self.first = Product(torch.cat([first.weight for first in firsts]), torch.cat(biases))
        self.seconds = [_second(module) for module in modules]

    def pack(self) -> None:
        """See `Product`."""
        pack(self.first, *self.seconds)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to [..., K]."""
        parts = torch.split(self.first(x), self.widths, -1)
        return torch.cat(
            [part if s is None else s(part.contiguous()) for part, s in zip(parts, self.seconds, strict=True)], -1
        )


def product(module: nn.Module, activation: nn.Module | None = None) -> Apply:
    """Return `module` followed by `activation` as one function, in the fast form for plain and low-rank linear layers.

    Any other module (such as an adapted layer) is called as is.
    """
    gelu = activation is not None and _is_exact_gelu(activation)
    made: Apply = module
    if type(module) is nn.Linear:
        made = Product(module.weight, module.bias, gelu=gelu)
    elif isinstance(module, PairLinear):
        made = Pair(Product(module.first.weight, None), Product(module.second.weight, module.second.bias, gelu=gelu))
    elif isinstance(module, PivotLinear):
        made = Pair(Product(module.first.weight, module.first.bias), Rest(module, gelu=gelu))
    else:
        gelu = False
    if activation is None or gelu:
        return made
    return lambda x: activation(made(x))


def fused(modules: list[nn.Module]) -> Apply:
    """Return the concatenated outputs of several layers with the same input, as one product if possible."""
    if not all(type(module) is nn.Linear or isinstance(module, PairLinear | PivotLinear) for module in modules):
        return lambda x: torch.cat([module(x) for module in modules], -1)
    made = Fused(modules)
    return made if any(made.seconds) else made.first


def pack(*products: Any) -> None:
    """Prepare products of any form for several rows; other functions are left unchanged."""
    for each in products:
        if isinstance(each, Product | Pair | Rest | Fused):
            each.pack()


def _second(module: nn.Module) -> Apply | None:
    if isinstance(module, PairLinear):
        return Product(module.second.weight, module.second.bias)
    return Rest(module) if isinstance(module, PivotLinear) else None


def _is_exact_gelu(activation: nn.Module) -> bool:
    probe = torch.linspace(-4, 4, 33)
    return bool(torch.allclose(activation(probe), functional.gelu(probe), atol=1e-6))


def normed(module: nn.LayerNorm, x: Tensor) -> Tensor:
    """What the module gives, without its overhead."""
    return functional.layer_norm(x, module.normalized_shape, module.weight, module.bias, module.eps)


def attend(query: Tensor, key: Tensor, value: Tensor, *, hidden: Tensor | None = None) -> Tensor:
    """Attention of scaled queries [N, H, L, C] over keys and values [N, H, S, C]; returns [N, H, L, C].

    `hidden` [L, S] or [N, 1, L, S] is true for masked keys. For few queries over many keys on a CPU in float32, two
    plain batched products are up to ten times as fast as the fused kernel, which is tiled for long queries.
    """
    if query.device.type == "cpu" and query.dtype == torch.float32:
        n, h, queries, c = query.shape
        scores = torch.bmm(query.reshape(n * h, queries, c), key.view(n * h, -1, c).transpose(1, 2))
        if hidden is not None:
            scores.view(n, h, queries, -1).masked_fill_(hidden, float("-inf"))
        mixed = torch.bmm(torch.softmax(scores, -1), value.view(n * h, -1, c))
        return mixed.view(n, h, queries, c)
    mask = None if hidden is None else ~hidden
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
