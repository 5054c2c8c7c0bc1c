"""Small random models whose linear layers are made low-rank by plain SVD, with biases as factors of data have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq

from linnet.models.lowrank.layers import Factors, Form, low_rank_layer, replace_layers
from linnet.models.lowrank.saving import save_low_rank
from tests.support.tiny_whispers import save_whisper

ENCODER = ("q_proj", "k_proj", "v_proj", "out_proj", "o_proj", "fc1", "fc2", "linear1", "linear2")


def factors_of(linear: nn.Linear, rank: int, *, bias: bool | None = None, seed: int = 0) -> Factors:
    """The best factors of a weight, and a bias where the layer has one or where it is asked for."""
    left, values, right = torch.linalg.svd(linear.weight.detach().double(), full_matrices=False)
    made = None
    if linear.bias is not None if bias is None else bias:
        noise = 0.1 * torch.randn(linear.out_features, generator=torch.Generator().manual_seed(seed))
        made = noise if linear.bias is None else linear.bias.detach().clone()
    first, second = right[:rank], left[:, :rank] * values[:rank]
    return Factors(first.to(linear.weight.dtype), second.to(linear.weight.dtype), made)


def compress(
    model: nn.Module,
    part: str,
    *,
    rank: int = 8,
    forms: Sequence[Form] = ("pair", "pivot"),
    names: Iterable[str] = ENCODER,
    bias: bool | None = None,
) -> list[str]:
    """Make the linear layers of a part low-rank, in each of the forms by turns; their names."""
    wanted = tuple(names)
    found = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and part in f".{name}." and name.endswith(wanted)
    ]
    replace_layers(
        model,
        {
            name: low_rank_layer(factors_of(layer, rank, bias=bias, seed=at), forms[at % len(forms)])
            for at, (name, layer) in enumerate(found)
        },
    )
    return [name for name, _ in found]


def save_compressed_whisper(folder: Path, *, seed: int = 0, rank: int = 24, **options: Any) -> tuple[Any, Path]:
    """A random Whisper whose encoder (and decoder, `part`) is low-rank, saved in `folder / "low"`, beside its base."""
    base = save_whisper(folder / "base", seed=seed)
    model = load(base, AutoModelForSpeechSeq2Seq)
    compress(model, options.pop("part", ".encoder."), rank=rank, **{"bias": True, **options})
    save_low_rank(model, base, folder / "low", card="# A small model\n")
    return model, folder / "low"


def load(folder: Path, auto: Any) -> Any:
    """A folder's model in float32."""
    return auto.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


AUTO = {
    "wav2vec2-group": AutoModelForCTC,
    "wav2vec2-layer": AutoModelForCTC,
    "parakeet": AutoModelForCTC,
    "moonshine": AutoModelForSpeechSeq2Seq,
    "speech2text": AutoModelForSpeechSeq2Seq,
}
