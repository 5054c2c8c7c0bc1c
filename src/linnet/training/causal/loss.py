"""The causal loss: one encoder pass, and a decoder row per point in time that attends to the frames before it.

Shapes: B recordings, R decoder rows, T mel frames, M mel bins, P encoder frames, L positions, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from linnet.models.causal import encode_causal
from linnet.training.batch import IGNORED


def decode_limited(decoder: Any, tokens: Tensor, encoded: Tensor, limits: Tensor) -> Tensor:
    """Hidden states [R, L, D] of tokens [R, L]; row r attends to the first `limits[r]` of its frames [R, P, D].

    `decoder` is a `WhisperDecoder` of Transformers, also with adapters. With all limits at P the result equals that
    decoder's.
    """
    length = tokens.shape[1]
    x = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[:length]
    later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
    beyond_limit = torch.arange(encoded.shape[1], device=x.device) >= limits.to(x.device)[:, None]
    own, cross = _mask(later, x.dtype)[None, None], _mask(beyond_limit, x.dtype)[:, None, None]
    x = nn.functional.dropout(x, p=decoder.dropout, training=decoder.training)
    for layer in decoder.layers:
        out = layer(x, own, encoded, cross, use_cache=False)
        x = out[0] if isinstance(out, tuple) else out
    hidden: Tensor = decoder.layer_norm(x)
    return hidden


def _mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """The additive attention mask: 0, or the lowest number where `hidden`."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)


class CausalLoss(nn.Module):
    """The cross-entropy of the words that have ended and of the end token, over all points of a batch."""

    def __init__(self, model: Any, *, smoothing: float = 0.0) -> None:
        super().__init__()
        self.model, self._smoothing = model, smoothing

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss `text`, summed over label tokens, of tensors of `causal_tensors` or `window_tensors`.

        Logits are computed at labelled positions only: the output layer is the most expensive part of a small decoder.
        """
        encoded = encode_causal(self.model.model.encoder, batch["features"], batch["ends"])
        rows = encoded[batch["recordings"]]  # [R, P, D]
        hidden = decode_limited(self.model.model.decoder, batch["inputs"], rows, batch["limits"])
        labelled = batch["labels"] != IGNORED
        logits = self.model.proj_out(hidden[labelled]).float()
        wanted = batch["labels"][labelled]
        return {"text": cross_entropy(logits, wanted, reduction="sum", label_smoothing=self._smoothing)}
