"""A Parakeet CTC model of any size with a vocabulary of words, its loss, and how it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetProcessor,
    ParakeetTokenizer,
)

from linnet.training.batch import IGNORED
from linnet.training.checkpoint import swap_folder
from linnet.training.weights import part_of

from .recipe import CtcModel

SUBSAMPLING = 4  # log-mel frames of 10 ms that an encoder frame spans


def make_tokenizer(words: tuple[str, ...]) -> Any:
    """A tokenizer of whole words: 0 is the blank, 1 an unknown word."""
    vocabulary = {name: index for index, name in enumerate(["<pad>", "<unk>", *(f"▁{word}" for word in words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return ParakeetTokenizer(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


def build_model(size: CtcModel) -> Any:
    """A fresh model; PyTorch's random state decides its weights."""
    encoder = ParakeetEncoderConfig(
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        subsampling_factor=SUBSAMPLING,
        subsampling_conv_channels=32,
        dropout=0.1,
        layerdrop=0.0,
    )
    return ParakeetForCTC(ParakeetCTCConfig(vocab_size=len(size.words) + 2, encoder_config=encoder, pad_token_id=0))


class CtcLoss(nn.Module):
    """The CTC loss (Graves et al. 2006) summed over the utterances of a batch."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`features` [B, T, M], `mask` [B, T], `labels` [B, L] with `IGNORED` where there is none."""
        logits = self.model(input_features=batch["features"], attention_mask=batch["mask"]).logits
        lengths = self.model._get_subsampling_output_length(batch["mask"].sum(-1))
        labels = batch["labels"]
        counts = (labels != IGNORED).sum(-1)
        chances = logits.float().log_softmax(-1).transpose(0, 1)
        summed = nn.functional.ctc_loss(
            chances, labels.clamp(min=0), lengths, counts, blank=0, reduction="sum", zero_infinity=True
        )
        return {"text": summed}


class CtcTask:
    """The model and its loss, as the loop takes them."""

    policy: Mapping[str, str] = {"model": "all"}

    def __init__(self, size: CtcModel) -> None:
        self.size = size
        self.model = build_model(size)
        self.loss = CtcLoss(self.model)

    def export(self, folder: Path, state: dict[str, Tensor] | None = None) -> Path:
        """Write a folder that Linnet and Transformers load."""
        weights = part_of(self.loss.state_dict() if state is None else state, "model")

        def write(place: Path) -> None:
            self.model.save_pretrained(place, state_dict=weights)
            ParakeetProcessor(ParakeetFeatureExtractor(), make_tokenizer(self.size.words)).save_pretrained(place)

        return swap_folder(folder, write)


def frames_of(features: Tensor) -> int:
    """Encoder frames of log-mel features [T, M]."""
    return max(1, -(-len(features) // SUBSAMPLING))
