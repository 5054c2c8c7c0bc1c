"""Self-attention in the dimension of the ranks, for keys or values with a rank below the channels of a head.

All heads of a low-rank layer share the output of its first half, here A = x Q1' for queries, B = x K1' for keys and C =
x V1' for values. So the scores of head i are A (Q2_i' K2_i) B' plus a bias, with one small matrix per head, which is
computed once, and its result is (S_i C) V2_i' plus a bias, which is merged into the output layer. Terms that are
constant over the keys are omitted, since softmax ignores them. Source: Kamahori et al., "LiteASR", arXiv 2502.20583,
3.2.2.

Shapes: B windows, P positions, D width, H heads, C channels of a head, q, k, v the ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.models.lowrank.layers import Factors
from linnet.models.lowrank.rewriting import factors_of, linear, without_bias

Attend = Callable[..., Tensor]  # the used arguments of PyTorch's `scaled_dot_product_attention`


@dataclass(frozen=True)
class Reducible:
    """Whether the keys and the values of an attention have a rank below the channels of a head.

    For P positions this saves H (C - k) P^2 multiply-adds, and likewise for values; other ranks save nothing.
    """

    keys: bool
    values: bool

    @classmethod
    def of(cls, attention: Any) -> Reducible:
        """Inspect an attention with `q_proj`, `k_proj`, `v_proj`, `out_proj` and `num_heads`."""
        channels = attention.q_proj.in_features // attention.num_heads
        ranks = [getattr(factors_of(layer), "rank", channels) for layer in (attention.k_proj, attention.v_proj)]
        return cls(*(rank < channels for rank in ranks))

    def __bool__(self) -> bool:
        return self.keys or self.values


class ReducedAttention(nn.Module):
    """Attention and its output layer, from x [B, P, D] to [B, P, D].

    `bias` [1, 1, 1, P], if any, is added to all scores. `attend` may be set to another function with PyTorch's
    arguments. Raises `ValueError` if nothing is reducible.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        reducible = Reducible.of(attention)
        if not reducible:
            raise ValueError("neither keys nor values have a rank below the channels of a head")
        self.reducible = reducible
        self.attend: Attend = functional.scaled_dot_product_attention
        self.out: nn.Module
        self.heads: int = attention.num_heads
        self.scale: float = attention.scaling
        with torch.no_grad():
            query, key = _scores(attention) if reducible.keys else (attention.q_proj, without_bias(attention.k_proj))
            value, self.out = _results(attention) if reducible.values else (attention.v_proj, attention.out_proj)
            firsts, seconds = zip(*map(_halves, (query, key, value)), strict=True)
            self.widths = [half.out_features for half in firsts]
            biases = [h.weight.new_zeros(h.out_features) if h.bias is None else h.bias for h in firsts]
            self.first = linear(torch.cat([half.weight for half in firsts]), torch.cat(biases))
        self.seconds = nn.ModuleList(seconds)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Run."""
        parts = torch.split(self.first(x), self.widths, -1)
        query, key, value = (second(part) for second, part in zip(self.seconds, parts, strict=True))
        query = self._split(query)
        key = self._shared(key) if self.reducible.keys else self._split(key)
        value = self._shared(value) if self.reducible.values else self._split(value)
        mixed = self.attend(query, key, value, attn_mask=bias, scale=self.scale)
        mixed = mixed.transpose(1, 2)
        made: Tensor = self.out(mixed.reshape(mixed.shape[0], -1, mixed.shape[2] * mixed.shape[3]))
        return made

    def _split(self, x: Tensor) -> Tensor:
        """[B, P, H c] to [B, H, P, c]."""
        return x.reshape(x.shape[0], -1, self.heads, x.shape[2] // self.heads).transpose(1, 2)

    def _shared(self, x: Tensor) -> Tensor:
        """[B, P, c] to [B, H, P, c], the same for each head."""
        return x[:, None].expand(-1, self.heads, -1, -1)


def _scores(attention: Any) -> tuple[nn.Module, nn.Module]:
    """Layers that compute queries [B, P, H k] and keys [B, P, k] from x, whose products are the scores."""
    keys = factors_of(attention.k_proj)
    assert keys is not None
    second = _by_head(keys.second, attention.num_heads)  # [H, C, k]
    queries = factors_of(attention.q_proj)
    layer = attention.q_proj
    weight, bias = (layer.weight, layer.bias) if queries is None else (queries.second, queries.bias)
    merged = torch.einsum("hck,hcq->hkq", second, _by_head(weight, attention.num_heads)).flatten(0, 1)
    offset = None
    if bias is not None:
        offset = torch.einsum("hck,hc->hk", second, bias.view(attention.num_heads, -1)).flatten()
    key = linear(keys.first, None)
    if queries is None:
        return linear(merged, offset), key
    return nn.Sequential(linear(queries.first, None), linear(merged, offset)), key


def _results(attention: Any) -> tuple[nn.Module, nn.Module]:
    """Layers that compute values [B, P, v] from x, and the result from the heads' mixtures of them [B, P, H v]."""
    values = factors_of(attention.v_proj)
    assert values is not None
    layer, second = attention.out_proj, _by_head(values.second, attention.num_heads)  # [H, C, v]
    out = factors_of(layer) or Factors(layer.weight, torch.empty(0), layer.bias)
    split = out.first.view(len(out.first), attention.num_heads, -1)  # [o, H, C]
    merged = torch.einsum("ohc,hcv->ohv", split, second).flatten(1)
    offset = out.bias
    if values.bias is not None:
        moved = out.first @ values.bias
        moved = moved if not len(out.second) else out.second @ moved
        offset = moved if offset is None else offset + moved
    value = linear(values.first, None)
    if not len(out.second):
        return value, linear(merged, offset)
    return value, nn.Sequential(linear(merged, None), linear(out.second, offset))


def _halves(layer: nn.Module) -> tuple[nn.Linear, nn.Module]:
    """The first and the second half of a layer."""
    if isinstance(layer, nn.Sequential):
        return layer[0], layer[1]  # type: ignore[return-value]
    factors = factors_of(layer)
    if factors is None:
        return layer, nn.Identity()  # type: ignore[return-value]
    return linear(factors.first, None), linear(factors.second, factors.bias)


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """[H C, k] to [H, C, k]."""
    return weight.view(heads, -1, weight.shape[1])
