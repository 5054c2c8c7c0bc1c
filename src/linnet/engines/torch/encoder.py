"""The Whisper encoder on the weights of a Transformers module, for windows of any length.

Shapes: B windows, T mel frames, M mel bins, P positions (T / 2, rounded up), D width, H heads, C channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.engines.torch.fastest import FastestAttention
from linnet.engines.torch.ops import attend, fused, normed, product
from linnet.models.lowrank.attention import ReducedAttention, Reducible
from linnet.models.lowrank.rewriting import for_frames, untangle, without_bias


class TorchEncoder:
    """Log-mel features [B, T, M] to hidden states [B, P, D].

    Computes the same as `transformers`' `WhisperEncoder`, which only takes full windows.
    """

    def __init__(self, encoder: Any, *, reduce: bool | FastestAttention = False) -> None:
        """`reduce`: compute low-rank attention in the dimension of its ranks where this needs fewer multiply-adds or is
        faster."""
        self.conv1, self.conv2 = encoder.conv1, encoder.conv2
        self.positions: Tensor = encoder.embed_positions.weight
        self.layers = [_EncoderLayer(layer, reduce) for layer in encoder.layers]
        self.norm: nn.LayerNorm = encoder.layer_norm

    def __call__(self, features: Tensor) -> Tensor:
        """Encode features [B, T, M] of any float dtype; T is at least 1 and at most the window's frames."""
        x = features.to(self.positions.device, self.positions.dtype).transpose(1, 2)
        x = functional.gelu(self.conv1(x))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return normed(self.norm, x)


class _EncoderLayer:
    def __init__(self, layer: Any, reduce: bool | FastestAttention) -> None:
        attention = layer.self_attn
        self.norm1: nn.LayerNorm = layer.self_attn_layer_norm
        parts = [attention.q_proj, without_bias(attention.k_proj), attention.v_proj]
        plain = all(type(part) is nn.Linear for part in parts)
        self.qkv = [fused(parts)] if plain else [product(for_frames(part)) for part in parts]
        self.out = product(for_frames(attention.out_proj))
        self.heads: int = attention.num_heads
        self.scale: float = attention.scaling
        self.reduced = ReducedAttention(attention) if reduce and Reducible.of(attention) else None
        if self.reduced is not None and isinstance(reduce, FastestAttention):
            self.reduced = reduce.choose(self._attend, self.reduced)
        self.norm2: nn.LayerNorm = layer.final_layer_norm
        fc1, fc2 = map(for_frames, untangle(layer.fc1, layer.fc2))
        self.fc1, self.fc2 = product(fc1, layer.activation_fn), product(fc2)

    def __call__(self, x: Tensor) -> Tensor:
        between = normed(self.norm1, x)
        return self._forward(x + (self._attend(between) if self.reduced is None else self.reduced(between)))

    def append(self, x: Tensor, cache: Tensor, start: int) -> Tensor:
        """The result for positions [1, n, D] that see themselves and `start` positions before them.

        `cache` [2, H, room, C] holds the keys and values of those before, and takes the new ones.
        """
        length, width = x.shape[1:]
        query, key, value = self._split(normed(self.norm1, x))
        end = start + length
        cache[0, :, start:end], cache[1, :, start:end] = key[0], value[0]
        mixed = attend(query * self.scale, cache[:1, :, :end], cache[1:, :, :end])
        return self._forward(x + self.out(mixed.transpose(1, 2).reshape(1, length, width)))

    @property
    def products(self) -> list[Any]:
        """What `ops.pack` prepares."""
        return [*self.qkv, self.out, self.fc1, self.fc2]

    def _forward(self, x: Tensor) -> Tensor:
        x = x + self.fc2(self.fc1(normed(self.norm2, x)))
        if x.dtype == torch.float16:  # as Transformers does: large models overflow here
            limit = torch.finfo(x.dtype).max - 1000
            x = x.clamp(-limit, limit)
        return x

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = self._split(x)
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))

    def _split(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values, each [B, H, P, C]."""
        made = self.qkv[0](x).chunk(3, -1) if len(self.qkv) == 1 else [part(x) for part in self.qkv]
        return [part.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for part in made]
