"""The embedded model: a small stock Whisper, and the losses that it trains with.

Shapes: B recordings, M mel bands, T mel frames, P = T / 2 encoder positions, D width, L tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from linnet.training.digits.compose import CONTEXT
from linnet.training.digits.initialise import initialise
from linnet.training.digits.targets import IGNORED
from linnet.training.digits.tokens import LANGUAGES, TIME_STEP, WINDOW, Vocabulary


@dataclass(frozen=True)
class DigitsModel:
    """The size of the embedded model."""

    width: int = 128
    encoder_heads: int = 2
    decoder_heads: int = 4
    feed_forward: int = 512
    encoder_layers: int = 5
    decoder_layers: int = 2
    decoder_feed_forward: int = 512
    mels: int = 80
    max_tokens: int = 128


def build_model(size: DigitsModel) -> WhisperForConditionalGeneration:
    """A freshly initialised Whisper of this size with the digit vocabulary and its generation settings."""
    vocabulary = Vocabulary.build()
    end = vocabulary.special("endoftext")
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        num_mel_bins=size.mels,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.encoder_heads,
        decoder_attention_heads=size.decoder_heads,
        encoder_ffn_dim=size.feed_forward,
        decoder_ffn_dim=size.decoder_feed_forward,
        max_source_positions=round(WINDOW / TIME_STEP),
        max_target_positions=size.max_tokens,
        dropout=0.0,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=vocabulary.special("startoftranscript"),
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    initialise(model)
    model.set_attn_implementation("eager")  # on a CPU its backward pass is twice as fast as the fused kernel's
    model.generation_config = generation_config(size)
    return model


def generation_config(size: DigitsModel) -> GenerationConfig:
    """What the stock Whisper `generate` reads. The first speech may come late, so the first time is free."""
    vocabulary = Vocabulary.build()
    end = vocabulary.special("endoftext")
    return GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=vocabulary.special("startoftranscript"),
        max_length=size.max_tokens,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": vocabulary.special(language) for language in LANGUAGES},
        task_to_id={task: vocabulary.special(task) for task in ("transcribe", "translate")},
        task="transcribe",  # else the stock generate leaves the task out where it detects the language
        no_timestamps_token_id=vocabulary.special("notimestamps"),
        prev_sot_token_id=vocabulary.special("startofprev"),
        max_initial_timestamp_index=round(WINDOW / TIME_STEP),
        suppress_tokens=[],
        begin_suppress_tokens=[],
        alignment_heads=[[size.decoder_layers - 1, head] for head in range(max(1, size.decoder_heads // 2))],
        return_timestamps=False,
    )


class DigitsTrainer(nn.Module):
    """The model with two heads on every encoder position, which are dropped at the end.

    One names the digit that is heard there; the other what came before it: how many words, and which two. So the
    encoder learns what is said where and writes down what tells one place of a string from every other. `guidance`
    teaches the decoder to look there; its own loss alone would take much longer to find out.
    """

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
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

    def forward(self, batch: dict[str, Tensor], smoothing: float = 0.0) -> dict[str, Tensor]:
        """The losses (mean cross-entropies and `guidance`), and the shares of right tokens and right words."""
        encoded = self.encode(batch["features"])
        decoded = self.model.model.decoder(
            input_ids=batch["inputs"], encoder_hidden_states=encoded, use_cache=False, output_attentions=True
        )
        logits = self.model.proj_out(decoded.last_hidden_state).float()  # [B, L, V]
        labels = batch["labels"]
        text = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
        heard = self.frame_head(encoded).float()  # [B, P, classes]
        frames = cross_entropy(heard.flatten(0, 1), batch["frames"].flatten(), ignore_index=IGNORED)
        context = context_loss(self.context_head(encoded).float(), batch["context"])
        found = logits.detach().argmax(-1) == labels
        spoken = (labels >= 0) & (labels < self.model.config.eos_token_id)
        return {
            "text": text,
            "frames": frames,
            "context": context,
            "looks": guidance(decoded.cross_attentions[0], batch["spans"])
            + guidance(decoded.cross_attentions[-1], batch["spans"]),
            "right": found[labels != IGNORED].float().mean(),
            "words": found[spoken].float().mean(),
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


@torch.no_grad()
def blend(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` towards `model`: an exponential moving average of the weights."""
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value.detach().to(mean.dtype), 1 - decay)
