"""A small CTC model: convolutions over log-mel features and one recurrent layer, which say a word or a blank a frame.

Shapes: B utterances, T log-mel frames of 10 ms, F = T // 4 encoder frames, M mel bins, V words and the blank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from linnet.errors import ModelError
from linnet.training.batch import IGNORED
from linnet.training.checkpoint import swap_folder
from linnet.training.weights import part_of

from .recipe import CtcModel

SUBSAMPLING = 4  # log-mel frames of 10 ms that an encoder frame spans
BLANK = 0


class CtcNet(nn.Module):
    """The logits of each encoder frame, [B, F, V]: of the blank (0), and of the words in the recipe's order."""

    def __init__(self, size: CtcModel) -> None:
        super().__init__()
        blocks = [_block(size.mels, size.width, 2 * SUBSAMPLING, SUBSAMPLING, SUBSAMPLING // 2)]
        blocks += [_block(size.width, size.width, 3, 1, 1) for _ in range(size.layers)]
        self.blocks = nn.Sequential(*blocks)
        self.recurrent = nn.LSTM(size.width, size.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(size.dropout)
        self.output = nn.Linear(2 * size.hidden, len(size.words) + 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, T, M] with mean 0 and deviation 1 in each bin; zeros where an utterance has ended."""
        found = self.blocks(features.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.output(self.dropout(self.recurrent(found)[0]))
        return logits


def _block(width: int, to: int, kernel: int, stride: int, padding: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(width, to, kernel, stride, padding, bias=False), nn.BatchNorm1d(to), nn.ReLU())


def frames_of(frames: Any) -> Any:
    """Encoder frames of so many log-mel frames, an int or a tensor."""
    return frames // SUBSAMPLING


class CtcLoss(nn.Module):
    """The CTC loss (Graves et al. 2006) summed over the utterances of a batch."""

    def __init__(self, model: CtcNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`features` [B, T, M], `frames` [B] of them, `labels` [B, L] with `IGNORED` where there is none."""
        labels = batch["labels"]
        chances = self.model(batch["features"]).float().log_softmax(-1).transpose(0, 1)
        summed = nn.functional.ctc_loss(
            chances,
            labels.clamp(min=0),
            frames_of(batch["frames"]),
            (labels != IGNORED).sum(-1),
            blank=BLANK,
            reduction="sum",
            zero_infinity=True,
        )
        return {"text": summed}


class CtcTask:
    """The model and its loss, as the loop takes them."""

    policy: Mapping[str, str] = {"model": "all"}

    def __init__(self, size: CtcModel) -> None:
        self.size = size
        self.model = CtcNet(size)
        self.loss = CtcLoss(self.model)

    def export(self, folder: Path, state: dict[str, Tensor] | None = None) -> Path:
        """Write a folder that `load` reads."""
        weights = part_of(self.loss.state_dict() if state is None else state, "model")

        def write(place: Path) -> None:
            save_file({name: value.contiguous() for name, value in weights.items()}, place / "model.safetensors")
            (place / "config.json").write_text(json.dumps(asdict(self.size)) + "\n", encoding="utf-8")

        return swap_folder(folder, write)


def load(folder: Path) -> tuple[CtcModel, CtcNet]:
    """The model that `CtcTask.export` has written. Raises `ModelError`."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        size = CtcModel(**{**content, "words": tuple(content["words"])})
        net = CtcNet(size)
        net.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{folder}: not a model of the recipe ctc: {error}") from error
    return size, net.eval()


@torch.inference_mode()
def decode(size: CtcModel, net: CtcNet, features: Tensor, frames: Tensor) -> list[str]:
    """The texts of a batch: the best of each frame, repeats as one, without blanks."""
    best = net(features).argmax(-1)
    texts = []
    for row, count in zip(best.tolist(), frames_of(frames).tolist(), strict=True):
        texts.append(" ".join(size.words[label - 1] for label, _ in groupby(row[:count]) if label != BLANK))
    return texts
