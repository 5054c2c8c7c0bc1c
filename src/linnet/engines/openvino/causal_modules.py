"""A causal Whisper as plain torch modules for OpenVINO: one block of the encoder, and decoder rows of any length.

Shapes: M mel bins, n encoder frames of a block, P frames of room for those before it, N rows, L new tokens, S columns
held, K logits asked for, D width, H heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.engines.openvino.modules import ExportDecoder, ExportEncoder, join_heads, split_heads


class ExportCausalEncoder(nn.Module):
    """A block's mel frames to its own keys and values, and to those that the decoder's layers look at.

    `mel` [1, 2 n + 2, M] begins with the two frames before the block and ends with the one behind it, `before` [1, D,
    1] is the first convolution's last output, `places` [n] are the frames' positions. `past`, keys and values of every
    layer [1, H, P, C], has room for more frames than there are: `bias` [P] is minus infinity where there is none.
    Results: the first convolution's last output, every layer's new keys and values [1, H, n, C], and every decoder
    layer's keys [1, H, C, n] and values [1, H, n, C]. Attention is multiplied in `kind`.
    """

    def __init__(self, encoder: Any, decoder: Any, kind: torch.dtype) -> None:
        super().__init__()
        self.parts, self.kind = ExportEncoder(encoder, decoder), kind
        attention = encoder.layers[0].self_attn
        self.heads: int = attention.num_heads
        self.scale: float = attention.scaling

    def forward(self, mel: Tensor, before: Tensor, places: Tensor, bias: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Run; n and P are any."""
        parts: Any = self.parts
        inner = functional.conv1d(mel.transpose(1, 2), parts.conv1.weight, parts.conv1.bias)
        inner = torch.cat([before, functional.gelu(inner)], 2)
        x = functional.conv1d(inner, parts.conv2.weight, parts.conv2.bias, stride=2)
        x = functional.gelu(x).transpose(1, 2) + parts.positions.index_select(0, places)
        found: list[Tensor] = []
        for index, layer in enumerate(parts.layers):
            mixed, key, value = self._attend(layer.attention, layer.norm1(x), past[2 * index : 2 * index + 2], bias)
            x = x + layer.attention.out(join_heads(mixed))
            x = x + layer.fc2(layer.activation(layer.fc1(layer.norm2(x))))
            found += [key, value]
        x = parts.norm(x)
        for keys, values in zip(parts.keys, parts.values, strict=True):
            found += [split_heads(keys(x), parts.heads).transpose(2, 3), split_heads(values(x), parts.heads)]
        return inner[:, :, -1:], *found

    def _attend(
        self, attention: Any, x: Tensor, past: tuple[Tensor, ...], bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the frames of a block see, and their keys and values. Nothing that is past is copied."""
        parts = attention.qkv[0](x).chunk(3, -1) if len(attention.qkv) == 1 else [part(x) for part in attention.qkv]
        query, key, value = (split_heads(part, self.heads) for part in parts)
        query, key, value, kind = query * self.scale, key.to(self.kind), value.to(self.kind), self.kind
        old = torch.matmul(query.to(kind), past[0].to(kind).transpose(2, 3)).float() + bias
        new = torch.matmul(query.to(kind), key.transpose(2, 3)).float()
        shares = torch.softmax(torch.cat([old, new], -1), -1).to(kind)
        count = x.shape[1]
        mixed = torch.matmul(shares[..., :-count], past[1].to(kind)) + torch.matmul(shares[..., -count:], value)
        return mixed.float(), key, value


class ExportCausalDecoder(ExportDecoder):
    """Tokens [N, L] to the logits [K, V] after some of them.

    `positions` [N, L] are the tokens' own, `mask` [N, 1, L, S + L] is added to the scores of self-attention, and `take`
    [K] are the places, in all N x L, after which logits are wanted. The rest is as in `ExportDecoder`.
    """

    def forward(  # type: ignore[override]
        self, tokens: Tensor, rows: Tensor, positions: Tensor, mask: Tensor, take: Tensor, bias: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        """Run; N, L, S, K and P are any."""
        weight = bias[:, None, None]  # [N, 1, 1, P]
        held, cross = caches[: len(caches) // 2], caches[len(caches) // 2 :]
        x = self.tokens(tokens) + functional.embedding(positions, self.positions)  # type: ignore[arg-type]
        grown: list[Tensor] = []
        queries: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            pair = slice(2 * index, 2 * index + 2)
            x, key, value, query = layer(x, rows, mask, held[pair], (*cross[pair], weight))
            grown += [key, value]
            queries.append(query)
        chosen = x.reshape(-1, x.shape[2]).index_select(0, take)
        return self.output(self.norm(chosen)), *grown, *queries
