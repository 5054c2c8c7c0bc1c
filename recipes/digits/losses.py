"""The losses that the embedded model trains with.

Shapes: B recordings, M mel bins, T mel frames, P = T / 2 encoder frames, D width, L tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu
from transformers import WhisperForConditionalGeneration

from linnet.settings import BELOW_ONE, NOT_NEGATIVE, require
from linnet.training.batch import IGNORED

from .compose import CONTEXT
from .tokens import LANGUAGES


@dataclass(frozen=True)
class DigitsLosses:
    """`smoothing` of the tokens' labels; `helpers` weighs the losses that only help, which fall to a tenth of it."""

    smoothing: float = 0.02
    helpers: float = 1.0

    def __post_init__(self) -> None:
        require(self, BELOW_ONE, "smoothing")
        require(self, NOT_NEGATIVE, "helpers")


class DigitsLoss(nn.Module):
    """The model with two heads on every encoder position, which are dropped at the end.

    One names the digit that is heard there; the other what came before it: how many words, and which two. So the
    encoder learns what is said where and writes down what tells one place of a string from every other. `guidance`
    teaches the decoder to look there; its own loss alone would take much longer to find out.
    """

    def __init__(self, model: WhisperForConditionalGeneration, options: DigitsLosses) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.frame_head = nn.Linear(model.config.d_model, 1 + 10 * len(LANGUAGES))
        self.context_head = nn.Linear(model.config.d_model, sum(CONTEXT))

    def encode(self, features: Tensor) -> Tensor:
        """[B, M, T] -> [B, P, D] for windows up to the model's own; the stock forward insists on a full one."""
        encoder = self.model.model.encoder
        hidden = gelu(encoder.conv1(features))
        hidden = gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        output: Tensor = encoder.layer_norm(hidden)
        return output

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parts of the loss, each a weighted mean (cross-entropies and `guidance`) times the label tokens.

        `batch["helping"]` is the share of `helpers` that is left at this step.
        """
        encoded = self.encode(batch["features"])
        decoded = self.model.model.decoder(
            input_ids=batch["inputs"], encoder_hidden_states=encoded, use_cache=False, output_attentions=True
        )
        logits = self.model.proj_out(decoded.last_hidden_state).float()  # [B, L, V]
        labels = batch["labels"]
        smoothing = self.options.smoothing
        text = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
        heard = self.frame_head(encoded).float()  # [B, P, classes]
        frames = cross_entropy(heard.flatten(0, 1), batch["frames"].flatten(), ignore_index=IGNORED)
        context = context_loss(self.context_head(encoded).float(), batch["context"])
        looks = sum(guidance(decoded.cross_attentions[layer], batch["spans"]) for layer in (0, -1))
        tokens = (labels != IGNORED).sum()
        helping = tokens * self.options.helpers * batch["helping"]
        return {
            "text": tokens * text,
            "frames": helping * frames,
            "context": helping * 0.5 * context,
            "looks": helping * looks,
        }


def context_loss(heard: Tensor, context: Tensor) -> Tensor:
    """Mean cross-entropies of `heard` [B, P, sum(CONTEXT)] against each column of `context` [B, P, 3], added up."""
    loss = heard.sum() * 0.0
    for scores, classes in zip(torch.split(heard, list(CONTEXT), dim=-1), context.unbind(-1), strict=True):
        if bool((classes != IGNORED).any()):
            loss = loss + cross_entropy(scores.flatten(0, 1), classes.flatten(), ignore_index=IGNORED)
    return loss


def guidance(attention: Tensor, spans: Tensor) -> Tensor:
    """How badly half of the heads of `attention` [B, H, L, P] look at where each token is heard, `spans` [B, L, 2].

    The mean of -log(attention inside the span) over the tokens that have one. It teaches the decoder to walk
    through the sound long before its own loss would, and makes those heads fit for word times.
    """
    heads = attention[:, : max(1, attention.shape[1] // 2)].float()
    position = torch.arange(attention.shape[-1], device=attention.device)
    inside = (position >= spans[..., :1]) & (position < spans[..., 1:])  # [B, L, P]
    mass = (heads * inside[:, None]).sum(-1)  # [B, H, L]
    placed = inside.any(-1)[:, None].expand_as(mass)
    return -(mass[placed].clamp(min=1e-4).log()).mean() if bool(placed.any()) else heads.sum() * 0.0
