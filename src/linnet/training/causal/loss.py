"""The causal loss: one encoder pass, and a decoder row per point in time that attends to the frames before it.

With a teacher, the model before training, the frames of blocks also learn to be those of whole windows, of which each
second of any speech has 50, where it has some three words; and its predictions of words can be learned instead of the
words alone (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).

Shapes: B recordings, R decoder rows, at most K of each recording, T mel frames, M mel bins, P encoder frames,
L positions, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from linnet.models.causal import additive_mask, encode_causal
from linnet.training.batch import IGNORED
from linnet.training.causal.options import Imitation
from linnet.training.speech.distillation import divergence


def decode_limited(decoder: Any, tokens: Tensor, encoded: Tensor, limits: Tensor) -> Tensor:
    """Hidden states [R, L, D] of tokens [R, L]; row r attends to the first `limits[r]` of its frames [R, P, D].

    `decoder` is a `WhisperDecoder` of Transformers, also with adapters. With all limits at P the result equals that
    decoder's.
    """
    return decode_points(decoder, tokens, encoded, limits, torch.arange(len(tokens)))


def decode_points(decoder: Any, tokens: Tensor, encoded: Tensor, limits: Tensor, recordings: Tensor) -> Tensor:
    """`decode_limited` with rows that share frames: row r belongs to the recording `recordings[r]` of [B, P, D].

    The K rows of a recording are packed into one sequence, in which no row attends to another, so that the keys and
    values of its frames are computed once.
    """
    device, length = encoded.device, tokens.shape[1]
    recordings, limits = recordings.to(device), limits.to(device)
    slots = (recordings[:, None] == recordings).tril(-1).sum(1)  # of each row among those of its recording
    most = int(slots.max()) + 1
    packed = tokens.new_zeros(len(encoded), most, length)
    packed[recordings, slots] = tokens
    bounds = limits.new_ones(len(encoded), most)
    bounds[recordings, slots] = limits
    later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    other = torch.eye(most, dtype=torch.bool, device=device).logical_not()
    apart = (other[:, None, :, None] | later[:, None]).reshape(most * length, most * length)
    beyond = torch.arange(encoded.shape[1], device=device) >= bounds.repeat_interleave(length, 1)[:, :, None]
    x = decoder.embed_tokens(packed) + decoder.embed_positions.weight[:length]
    x = nn.functional.dropout(x.flatten(1, 2), p=decoder.dropout, training=decoder.training)
    own, cross = additive_mask(apart, x.dtype)[None, None], additive_mask(beyond, x.dtype)[:, None]
    for layer in decoder.layers:
        out = layer(x, own, encoded, cross, use_cache=False)
        x = out[0] if isinstance(out, tuple) else out
    hidden: Tensor = decoder.layer_norm(x).unflatten(1, (most, length))[recordings, slots]
    return hidden


class CausalLoss(nn.Module):
    """The cross-entropy of the words that have ended and of the end token, over all points of a batch.

    `teacher` is a Whisper that stays as it is, of which `imitation` says what is learned.
    """

    def __init__(
        self, model: Any, *, smoothing: float = 0.0, teacher: Any = None, imitation: Imitation | None = None
    ) -> None:
        super().__init__()
        self.model, self.teacher = model, teacher
        self._smoothing, self._imitation = smoothing, imitation or Imitation()

    def train(self, mode: bool = True) -> CausalLoss:
        """As in PyTorch, but the teacher never trains."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the losses of tensors of `causal_tensors` or `window_tensors`, summed over label tokens: `text`, and
        with taught frames `imitation`, which is the same for all tokens of a batch. A batch with `frames_only` has no
        other loss, and its decoder is not run.

        Logits are computed at labelled positions only: the output layer is the most expensive part of a small decoder.
        """
        encoded = encode_causal(self.model.model.encoder, batch["features"], batch["ends"])
        if "frames_only" in batch:
            return {"text": encoded.new_zeros(()), "imitation": self._missed(batch, encoded, self._taught(batch))}
        hidden = decode_points(self.model.model.decoder, batch["inputs"], encoded, batch["limits"], batch["recordings"])
        labelled = batch["labels"] != IGNORED
        logits = self.model.proj_out(hidden[labelled]).float()
        wanted = batch["labels"][labelled]
        text = cross_entropy(logits, wanted, reduction="none", label_smoothing=self._smoothing)
        if self.teacher is None:
            return {"text": text.sum()}
        taught = self._taught(batch)
        if self._imitation.words:
            with torch.no_grad():
                predicted = self.teacher.proj_out(self._hidden(batch, taught)[labelled])
            share = self._imitation.words * (wanted != self.model.config.eos_token_id)
            text = text + share * (divergence(logits, predicted, 1.0) - text)
        parts = {"text": text.sum()}
        if self._imitation.frames:
            parts["imitation"] = self._missed(batch, encoded, taught)
        return parts

    def _missed(self, batch: dict[str, Tensor], encoded: Tensor, taught: Tensor) -> Tensor:
        """The weighted distance of frames [B, P, D] from the teacher's [B, Q, D], once for each label token."""
        tokens = (batch["labels"] != IGNORED).sum()
        return self._imitation.frames * tokens * distance(encoded, taught, batch["frames"])

    @torch.no_grad()
    def _taught(self, batch: dict[str, Tensor]) -> Tensor:
        """The teacher's frames [B, Q, D] of whole windows."""
        encoder = self.teacher.model.encoder
        windows = batch.get("windows", batch["features"]).to(encoder.conv1.weight.dtype)
        frames: Tensor = encoder(windows.transpose(1, 2)).last_hidden_state
        return frames

    def _hidden(self, batch: dict[str, Tensor], taught: Tensor) -> Tensor:
        """The teacher's hidden states [R, L, D] of the decoder's rows, each of which hears all of its recording."""
        all_frames = torch.full_like(batch["limits"], taught.shape[1])
        return decode_points(self.teacher.model.decoder, batch["inputs"], taught, all_frames, batch["recordings"])


def distance(encoded: Tensor, taught: Tensor, frames: Tensor) -> Tensor:
    """The mean squared error of frames [B, P, D] beside the teacher's [B, Q, D], as a share of their variance.

    The first `frames[b]` of a recording count. The result is 1 for frames that are all the teacher's mean.
    """
    counted = torch.arange(encoded.shape[1], device=encoded.device) < frames.to(encoded.device)[:, None]
    ours, theirs = encoded[counted].float(), taught[:, : encoded.shape[1]][counted].float()
    apart: Tensor = (ours - theirs).square().mean() / theirs.var(0, correction=0).mean()
    return apart
