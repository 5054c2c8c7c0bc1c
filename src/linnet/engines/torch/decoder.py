"""The Whisper decoder on the weights of a Transformers module, a few tokens at a time.

Shapes: B windows, N hypothesis rows (k adjacent rows per window), L new tokens, P encoder frames, D width, H heads, C
channels of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.engines.checks import check_heads, check_kept, check_spread, check_tokens
from linnet.engines.torch.ops import attend, fused, normed, pack, product
from linnet.models.lowrank.rewriting import untangle, without_bias

FIRST_CAPACITY = 64  # tokens; the cache doubles from here, so short outputs do not pay for the longest


@dataclass(frozen=True)
class TorchEncoderOutput:
    """Hidden states [B, P, D] of B windows and their keys and values [B, H, P, C] for each decoder layer."""

    hidden: Tensor
    cross: tuple[tuple[Tensor, Tensor], ...]

    @property
    def batch(self) -> int:
        """The number of windows."""
        return self.hidden.shape[0]

    def select(self, rows: Sequence[int]) -> Self:
        """The results of these windows only, in this order; repetitions are allowed."""
        if list(rows) == list(range(self.batch)):
            return self
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.hidden.device)
        cross = tuple((k.index_select(0, index), v.index_select(0, index)) for k, v in self.cross)
        return type(self)(self.hidden.index_select(0, index), cross)


class TorchState:
    """The state of N rows: self-attention keys and values [layers, 2, N, H, capacity, C]."""

    def __init__(self, encoded: TorchEncoderOutput, max_length: int) -> None:
        self.encoded = encoded
        self.max_length = max_length
        self.length = 0
        key = encoded.cross[0][0]
        capacity = min(FIRST_CAPACITY, max_length)
        self.cache = key.new_empty(len(encoded.cross), 2, encoded.batch, key.shape[1], capacity, key.shape[3])
        self.static: Any = None  # the `StaticStep` that owns the cache's memory
        self.leave: Any = None  # returns that memory

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.cache.shape[2]

    def reserve(self, tokens: int) -> None:
        """Reserve memory for this many more tokens, up to `max_length` in total."""
        wanted = self.length + tokens
        if wanted > self.cache.shape[4]:
            shape = list(self.cache.shape)
            shape[4] = min(self.max_length, max(wanted, 2 * shape[4]))
            grown = self.cache.new_empty(shape)
            grown[..., : self.length, :] = self.cache[..., : self.length, :]
            self.cache = grown

    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i continue row `rows[i]`; the number of rows per window may change, equally for all windows."""
        check_spread(rows, self.encoded.batch)
        held = self.cache[..., : self.length, :].index_select(2, self._index(rows))
        if len(rows) == self.rows:
            self.cache[..., : self.length, :] = held
        else:
            self.cache = self.cache.new_empty(*self.cache.shape[:2], len(rows), *self.cache.shape[3:])
            self.cache[..., : self.length, :] = held
            if self.static is not None:
                self.static = None
                self.leave()

    def keep(self, rows: Sequence[int]) -> bool:
        """Keep only these windows, each with one row; not in static memory, whose shape is recorded in a graph.

        Raises `ValueError` for other states.
        """
        check_kept(rows, self.rows, self.encoded.batch)
        if self.static is not None:
            return False
        self.encoded = self.encoded.select(rows)
        self.cache = self.cache.index_select(2, self._index(rows))
        return True

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.as_tensor(rows, dtype=torch.long, device=self.cache.device)


class TorchDecoder:
    """Computes the logits [N, V] after tokens [N, L] that continue a state."""

    def __init__(self, decoder: Any, output: nn.Module) -> None:
        self.tokens: Tensor = decoder.embed_tokens.weight
        self.positions: Tensor = decoder.embed_positions.weight
        self.layers = [_DecoderLayer(layer) for layer in decoder.layers]
        self.norm: nn.LayerNorm = decoder.layer_norm
        self.output = product(output)

    def pack(self) -> None:
        """Prepare for steps of several rows."""
        pack(self.output, *(each for layer in self.layers for each in layer.products))

    def cross(self, hidden: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """The keys and values [B, H, P, C] of encoder states [B, P, D], per layer."""
        return tuple(layer.cross(hidden) for layer in self.layers)

    def step(self, state: TorchState, tokens: Tensor) -> Tensor:
        """Feed tokens [N, L] to the state; returns float32 logits [N, V]."""
        end = state.length + tokens.shape[1]
        x, hidden = self._embed(state, tokens)
        for index, layer in enumerate(self.layers):
            x = layer(x, state.cache[index], state.length, hidden, state.encoded.cross[index])
        state.length = end
        logits: Tensor = self.output(normed(self.norm, x[:, -1]))
        return logits.float()

    def static_step(
        self, tokens: Tensor, place: Tensor, cache: Tensor, cross: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """`step` for tokens [N, 1] at `place` [1] of a larger cache: shapes and addresses do not change.

        The cache after `place` is masked, so its values must be finite.
        """
        x = functional.embedding(tokens, self.tokens) + self.positions.index_select(0, place)
        hidden = (torch.arange(cache.shape[4], device=place.device) > place)[None]
        for index, layer in enumerate(self.layers):
            x = layer(x, cache[index], place, hidden, cross[index])
        logits: Tensor = self.output(normed(self.norm, x[:, -1]))
        return logits.float()

    def align(self, state: TorchState, tokens: Tensor, heads: Sequence[tuple[int, int]]) -> Tensor:
        """Feed tokens [N, L] to a fresh state of N windows; returns `heads`' cross-attention [N, heads, L, P], float32.

        It stops after the deepest requested layer and leaves the state unusable.
        """
        check_heads(heads, (len(self.layers), self.layers[0].heads))
        x, hidden = self._embed(state, tokens)
        found: dict[tuple[int, int], Tensor] = {}
        for index in range(1 + max(layer for layer, _ in heads)):
            cross = state.encoded.cross[index]
            chosen = sorted({head for layer, head in heads if layer == index})
            x, looked = self.layers[index].align(x, state.cache[index], hidden, cross, chosen)
            found |= {(index, head): looked[:, place] for place, head in enumerate(chosen)}
        return torch.stack([found[layer, head] for layer, head in heads], 1)

    def _embed(self, state: TorchState, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """The embeddings of new tokens [N, L, D] and their causal mask [L, total length]; reserves memory for them."""
        check_tokens(state, tokens)
        length = tokens.shape[1]
        state.reserve(length)
        end = state.length + length
        x = functional.embedding(tokens, self.tokens) + self.positions[state.length : end]
        if length == 1:
            return x, None
        return x, torch.ones(length, end, dtype=torch.bool, device=x.device).triu_(1 + state.length)


class _DecoderLayer:
    def __init__(self, layer: Any) -> None:
        own, across = layer.self_attn, layer.encoder_attn
        self.heads: int = own.num_heads
        self.scale: float = own.scaling
        self.norm1: nn.LayerNorm = layer.self_attn_layer_norm
        self.qkv = fused([own.q_proj, without_bias(own.k_proj), own.v_proj])
        self.out = product(own.out_proj)
        self.norm2: nn.LayerNorm = layer.encoder_attn_layer_norm
        self.cross_query = product(across.q_proj)
        self.cross_key, self.cross_value = product(without_bias(across.k_proj)), product(across.v_proj)
        self.cross_out = product(across.out_proj)
        self.norm3: nn.LayerNorm = layer.final_layer_norm
        fc1, fc2 = untangle(layer.fc1, layer.fc2)
        self.fc1, self.fc2 = product(fc1, layer.activation_fn), product(fc2)

    @property
    def products(self) -> tuple[Any, ...]:
        """The linear layers of every step."""
        return self.qkv, self.out, self.cross_query, self.cross_out, self.fc1, self.fc2

    def cross(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        batch, positions, _ = hidden.shape
        shape = (batch, positions, self.heads, -1)
        key, value = self.cross_key(hidden).view(shape), self.cross_value(hidden).view(shape)
        return key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()

    def __call__(
        self, x: Tensor, cache: Tensor, start: int | Tensor, hidden: Tensor | None, cross: tuple[Tensor, Tensor]
    ) -> Tensor:
        x = x + self._own(normed(self.norm1, x), cache, start, hidden)
        x = x + self._across(normed(self.norm2, x), cross)
        return x + self.fc2(self.fc1(normed(self.norm3, x)))

    def align(
        self, x: Tensor, cache: Tensor, hidden: Tensor | None, cross: tuple[Tensor, Tensor], heads: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """The output for the first L tokens of N windows, and the cross-attention [N, heads, L, P] of some heads."""
        rows, length, _ = x.shape
        x = x + self._own(normed(self.norm1, x), cache, 0, hidden)
        between = normed(self.norm2, x)
        query = (self.cross_query(between) * self.scale).view(rows, length, self.heads, -1).transpose(1, 2)
        index = torch.as_tensor(list(heads), dtype=torch.long, device=x.device)
        scores = query.index_select(1, index) @ cross[0].index_select(1, index).transpose(2, 3)
        x = x + self._across(between, cross)
        return x + self.fc2(self.fc1(normed(self.norm3, x))), scores.float().softmax(-1)

    def ragged(
        self,
        x: Tensor,
        cache: Tensor,
        start: int,
        hidden: Tensor | None,
        cross: Sequence[Tensor],
        counts: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """The result for N rows of which each has its own `cross` [2, H, P, C]; and their queries [N, H, L, C].

        Of row n only the first `counts[n]` tokens count: its others look at nothing.
        """
        rows, length, width = x.shape
        x = x + self._own(normed(self.norm1, x), cache, start, hidden)
        query = (
            (self.cross_query(normed(self.norm2, x)) * self.scale).view(rows, length, self.heads, -1).transpose(1, 2)
        )
        mixed = torch.zeros_like(query)
        for row, (keys, count) in enumerate(zip(cross, counts, strict=True)):
            if count:
                mixed[row, :, :count] = attend(query[row : row + 1, :, :count], keys[:1], keys[1:])[0]
        x = x + self.cross_out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.fc2(self.fc1(normed(self.norm3, x))), query

    def _own(self, x: Tensor, cache: Tensor, start: int | Tensor, hidden: Tensor | None) -> Tensor:
        """Self-attention. `start` as a tensor [1] on the device means one token, with attention over the whole
        cache."""
        rows, length, width = x.shape
        qkv = self.qkv(x).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [3, N, H, L, C]
        if isinstance(start, Tensor):
            cache.index_copy_(3, start, qkv[1:])
            key, value = cache
        else:
            end = start + length
            cache[:, :, :, start:end] = qkv[1:]
            key, value = cache[:, :, :, :end]
        mixed = attend(qkv[0] * self.scale, key, value, hidden=hidden)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))

    def _across(self, x: Tensor, cross: tuple[Tensor, Tensor]) -> Tensor:
        # The rows of a window share its keys: its k x L queries are placed side by side, nothing is repeated.
        rows, length, width = x.shape
        key, value = cross
        batch = key.shape[0]
        query = (self.cross_query(x) * self.scale).view(batch, rows // batch * length, self.heads, -1).transpose(1, 2)
        mixed = attend(query, key, value)
        return self.cross_out(mixed.transpose(1, 2).reshape(rows, length, width))
