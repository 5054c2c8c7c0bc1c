"""The Whisper encoder and decoder as plain torch modules for OpenVINO, on the weights of a Transformers module.

Shapes: B windows, T mel frames, M mel bins, P encoder frames, N hypothesis rows (k adjacent rows per window), L new
tokens, S tokens held, D width, H heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.models.lowrank.attention import ReducedAttention, Reducible
from linnet.models.lowrank.layers import PairLinear, PivotLinear
from linnet.models.lowrank.rewriting import for_frames, in_order, untangle, without_bias


class ExportEncoder(nn.Module):
    """From log-mel features [B, T, M] to every decoder layer's cross-attention keys and values: k0, v0, k1, v1, ...

    Keys are [B, H, C, P], the layout that the step multiplies without a copy, values [B, H, P, C]. Only the positions
    `indices` [P] are kept; `bias` [P] is added to attention scores over them (`padding.Layout`). `reduce`: attention in
    the dimension of its ranks, in layers where this needs fewer multiply-adds.
    """

    def __init__(self, encoder: Any, decoder: Any, *, reduce: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = encoder.conv1, encoder.conv2
        self.register_buffer("positions", encoder.embed_positions.weight)
        self.layers = nn.ModuleList(_EncoderLayer(layer, reduce) for layer in encoder.layers)
        self.norm = encoder.layer_norm
        across = [layer.encoder_attn for layer in decoder.layers]
        self.keys = nn.ModuleList(framewise(without_bias(attention.k_proj)) for attention in across)
        self.values = nn.ModuleList(framewise(attention.v_proj) for attention in across)
        self.heads: int = decoder.layers[0].encoder_attn.num_heads

    def forward(self, features: Tensor, indices: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """Run the encoder; T and P are dynamic."""
        x = functional.gelu(self.conv1(features.transpose(1, 2)))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x.index_select(1, indices) + self.positions.index_select(0, indices)  # type: ignore[operator]
        weight = bias.reshape(1, 1, 1, -1)
        for layer in self.layers:
            x = layer(x, weight)
        x = self.norm(x)
        found: list[Tensor] = []
        for keys, values in zip(self.keys, self.values, strict=True):
            key, value = (split_heads(project(x), self.heads) for project in (keys, values))
            found += [key.transpose(2, 3), value]
        return tuple(found)


class _EncoderLayer(nn.Module):
    def __init__(self, layer: Any, reduce: bool) -> None:
        super().__init__()
        attention = layer.self_attn
        self.norm1, self.norm2 = layer.self_attn_layer_norm, layer.final_layer_norm
        small = reduce and Reducible.of(attention)
        self.attention = ReducedAttention(attention) if small else _Attention(attention)
        self.fc1, self.fc2 = map(framewise, untangle(layer.fc1, layer.fc2))
        self.activation = layer.activation_fn

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), bias)
        result: Tensor = x + self.fc2(self.activation(self.fc1(self.norm2(x))))
        return result


class _Attention(nn.Module):
    def __init__(self, attention: Any) -> None:
        super().__init__()
        parts = [attention.q_proj, without_bias(attention.k_proj), attention.v_proj]
        plain = all(type(part) is nn.Linear for part in parts)
        # the first halves of low-rank layers stay separate: splitting their outputs costs more than one product saves
        self.qkv = nn.ModuleList([_Fused(parts)] if plain else map(framewise, parts))
        self.out = framewise(attention.out_proj)
        self.heads: int = attention.num_heads
        self.scale: float = attention.scaling

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        parts = self.qkv[0](x).chunk(3, -1) if len(self.qkv) == 1 else [part(x) for part in self.qkv]
        query, key, value = (split_heads(part, self.heads) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=self.scale)
        made: Tensor = self.out(join_heads(mixed))
        return made


class ExportDecoder(nn.Module):
    """One step: from tokens [N, L] after the S tokens of each row to the logits [N, V] after the last of them.

    The inputs are tokens, `rows` [N] (the row that each one continues), `bias` [B, P] (added to cross-attention
    scores), then for every layer the self-attention keys and values [., H, S, C] so far (k0, v0, k1, v1, ...), then in
    the same order the encoder's outputs, multiplied in `cross_dtype`. The outputs are the logits, the extended
    self-attention keys and values and, for word times, every layer's scaled cross-attention queries [B, H, k x L, C].
    """

    def __init__(self, decoder: Any, output: nn.Module, cross_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.tokens, self.norm, self.output = decoder.embed_tokens, decoder.layer_norm, output
        self.register_buffer("positions", decoder.embed_positions.weight)
        self.layers = nn.ModuleList(_DecoderLayer(layer, cross_dtype) for layer in decoder.layers)

    def forward(self, tokens: Tensor, rows: Tensor, bias: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Run the step; N, L, S and P are dynamic."""
        weight = bias[:, None, None]  # [B, 1, 1, P]
        held, cross = caches[: len(caches) // 2], caches[len(caches) // 2 :]
        start, length = held[0].shape[2], tokens.shape[1]
        indices = torch.arange(length, device=tokens.device) + start
        seen = torch.arange(start + length, device=tokens.device) <= indices[:, None]
        # one per row: in bf16, OpenVINO 2026.4 reads a mask shared by rows wrongly from the second row on
        seen = seen.expand(tokens.shape[0], 1, length, -1)  # [N, 1, L, S + L]
        x = self.tokens(tokens) + functional.embedding(indices, self.positions)  # type: ignore[arg-type]
        grown: list[Tensor] = []
        queries: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            pair = slice(2 * index, 2 * index + 2)
            x, key, value, query = layer(x, rows, seen, held[pair], (*cross[pair], weight))
            grown += [key, value]
            queries.append(query)
        return self.output(self.norm(x[:, -1])), *grown, *queries


class _DecoderLayer(nn.Module):
    def __init__(self, layer: Any, cross_dtype: torch.dtype) -> None:
        super().__init__()
        self.cross_dtype = cross_dtype
        own, across = layer.self_attn, layer.encoder_attn
        self.norm1, self.norm2, self.norm3 = (
            layer.self_attn_layer_norm,
            layer.encoder_attn_layer_norm,
            layer.final_layer_norm,
        )
        self.qkv, self.out = _Fused([own.q_proj, without_bias(own.k_proj), own.v_proj]), own.out_proj
        self.cross_query, self.cross_out = across.q_proj, across.out_proj
        self.fc1, self.fc2 = _feed_forward(layer)
        self.activation = layer.activation_fn
        self.heads: int = own.num_heads
        self.scale: float = own.scaling

    def forward(
        self, x: Tensor, rows: Tensor, seen: Tensor, held: Sequence[Tensor], cross: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # OpenVINO replaces these by one operation with a growing cache if `rows` is an int32 input.
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        key = torch.cat([held[0].index_select(0, rows), key], 2)
        value = torch.cat([held[1].index_select(0, rows), value], 2)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=self.scale)
        x = x + self.out(join_heads(mixed))
        mixed, query = self._across(self.norm2(x), *cross)
        x = x + self.cross_out(mixed)
        return x + self.fc2(self.activation(self.fc1(self.norm3(x)))), key, value, query

    def _across(self, x: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        # The rows of a window share its keys: their k x L queries are placed side by side, nothing is repeated.
        rows, length, width = x.shape
        shared = (self.cross_query(x) * self.scale).reshape(key.shape[0], -1, width)
        query = split_heads(shared, self.heads)
        # The casts make products of bfloat16 inputs. Of float32 products OpenVINO would make the same, but by turning
        # all keys and values into float32 and back at each step: half of the time of a step of eight windows.
        kind = self.cross_dtype
        looked = torch.softmax(torch.matmul(query.to(kind), key.to(kind)).float() + bias, -1)
        mixed = torch.matmul(looked.to(kind), value.to(kind)).float()
        return join_heads(mixed).reshape(rows, length, width), query


class _Fused(nn.Module):
    """The concatenated outputs of layers with the same input: one product for all plain or low-rank layers.

    For low-rank layers it computes the input of their second halves.
    """

    def __init__(self, modules: list[Any]) -> None:
        super().__init__()
        self.known = all(
            type(module) is nn.Linear or isinstance(module, PairLinear | PivotLinear) for module in modules
        )
        self.parts = nn.ModuleList([_Second.of(module) if self.known else module for module in modules])
        if self.known:
            firsts = [module if type(module) is nn.Linear else module.first for module in modules]
            biases = [f.weight.new_zeros(f.out_features) if f.bias is None else f.bias for f in firsts]
            self.widths = [first.out_features for first in firsts]
            self.register_buffer("weight", torch.cat([first.weight for first in firsts]))
            self.register_buffer("bias", torch.cat(biases))

    def forward(self, x: Tensor) -> Tensor:
        if not self.known:
            return torch.cat([part(x) for part in self.parts], -1)
        made = functional.linear(x, self.weight, self.bias)  # type: ignore[arg-type]
        if all(type(part) is nn.Identity for part in self.parts):
            return made
        return torch.cat([part(y) for part, y in zip(self.parts, torch.split(made, self.widths, -1), strict=True)], -1)


class _Second(nn.Module):
    """Computes the outputs of a layer in pivot form from its pivots."""

    def __init__(self, layer: PivotLinear) -> None:
        super().__init__()
        self.rest, self.order = layer.rest, None if in_order(layer) else layer.order

    @staticmethod
    def of(layer: nn.Module) -> nn.Module:
        """The function after the first product of a layer."""
        if isinstance(layer, PairLinear):
            return layer.second
        return _Second(layer) if isinstance(layer, PivotLinear) else nn.Identity()

    def forward(self, pivots: Tensor) -> Tensor:
        made = torch.cat([pivots, self.rest(pivots)], -1)
        return made if self.order is None else made.index_select(-1, self.order)


def framewise(layer: nn.Module) -> nn.Module:
    """A layer in the form for the encoder's graph, which reads many frames at once."""
    made = for_frames(layer)
    return nn.Sequential(made.first, _Second(made)) if isinstance(made, PivotLinear) else made


def _feed_forward(layer: Any) -> tuple[nn.Module, nn.Module]:
    """The two layers around the activation, with the outputs of the first one in the order in which they are
    computed."""
    first, second = untangle(layer.fc1, layer.fc2)
    return (nn.Sequential(first.first, _Second(first)) if isinstance(first, PivotLinear) else first), second


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[N, L, D] to [N, H, L, C]."""
    return x.reshape(x.shape[0], -1, heads, x.shape[2] // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """[N, H, L, C] to [N, L, D]."""
    x = x.transpose(1, 2)
    return x.reshape(x.shape[0], -1, x.shape[2] * x.shape[3])
