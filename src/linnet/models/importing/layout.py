"""The common form of all sources: the sizes of a Whisper model, its weights by Transformers' names, its settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from linnet.errors import ModelError

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_LIMITS = {"mels": 512, "layers": 256, "heads": 512, "width": 16384, "context": 65536, "vocabulary": 2**21}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Dimensions:
    """The sizes of a Whisper model: `audio_context` and `text_context` are positions, `..._ffn` feed-forward widths."""

    mels: int
    width: int
    audio_context: int
    audio_heads: int
    audio_layers: int
    audio_ffn: int
    vocabulary: int
    text_context: int
    text_heads: int
    text_layers: int
    text_ffn: int

    def check(self, path: Path) -> None:
        """Raise `ModelError` for sizes that no Whisper model has, before any allocation."""
        rows = (
            ("mels", self.mels),
            ("width", self.width),
            ("layers", max(self.audio_layers, self.text_layers)),
            ("heads", max(self.audio_heads, self.text_heads)),
            ("context", max(self.audio_context, self.text_context)),
            ("vocabulary", self.vocabulary),
            ("width", max(self.audio_ffn, self.text_ffn) // 8),
        )
        smallest = min(value for value in vars(self).values())
        too_large = [f"{kind} {value}" for kind, value in rows if value > _LIMITS[kind]]
        if smallest < 1 or too_large:
            what = too_large[0] if too_large else f"a size of {smallest}"
            raise ModelError(f"{path} is damaged: no Whisper model has {what}; copy or download it again")
        if self.width % self.audio_heads or self.width % self.text_heads:
            raise ModelError(
                f"{path} is damaged: its width {self.width} cannot be split into {self.audio_heads} and "
                f"{self.text_heads} heads; copy or download it again"
            )


@dataclass(frozen=True)
class Weight:
    """One tensor that is read on demand. `dtype` is that of `load`; `quantized`: the source has fewer bits."""

    shape: Shape
    dtype: torch.dtype
    load: Callable[[], Tensor]
    quantized: bool = False

    def checked(self, name: str) -> Tensor:
        """The tensor. Raises `ModelError` if its shape is not the declared one."""
        tensor = self.load()
        if tuple(tensor.shape) != self.shape or tensor.dtype != self.dtype:
            raise ModelError(f"weight {name} is {tuple(tensor.shape)} instead of {self.shape}: import it again")
        return tensor.contiguous()


@dataclass(frozen=True)
class Settings:
    """A source's settings for decoding; None if not given."""

    suppress: tuple[int, ...] | None = None
    begin_suppress: tuple[int, ...] | None = None
    languages: tuple[int, ...] | None = None  # token ids
    alignment_heads: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class WhisperSource:
    """A model in another program's format.

    `pieces`: the bytes of its text tokens in order, if included; `tokenizer`: its tokenizer.json; `files`: all files
    read; `description`: its precision, such as `float16` or `int8`.
    """

    format: str
    path: Path
    dimensions: Dimensions
    weights: Mapping[str, Weight]
    description: str
    files: tuple[Path, ...]
    pieces: Sequence[bytes] | None = None
    special: Mapping[str, int] = field(default_factory=dict)  # special tokens if the source lists them
    tokenizer: Path | None = None
    settings: Settings = Settings()


def expected_shapes(dimensions: Dimensions) -> dict[str, Shape]:
    """Name and shape of every tensor of a `WhisperForConditionalGeneration`, except for the tied output projection."""
    d = dimensions
    shapes: dict[str, Shape] = {
        "model.encoder.conv1.weight": (d.width, d.mels, 3),
        "model.encoder.conv1.bias": (d.width,),
        "model.encoder.conv2.weight": (d.width, d.width, 3),
        "model.encoder.conv2.bias": (d.width,),
        "model.encoder.embed_positions.weight": (d.audio_context, d.width),
        "model.decoder.embed_tokens.weight": (d.vocabulary, d.width),
        "model.decoder.embed_positions.weight": (d.text_context, d.width),
    }
    for side, layers, ffn in (("encoder", d.audio_layers, d.audio_ffn), ("decoder", d.text_layers, d.text_ffn)):
        shapes |= _norm(f"model.{side}.layer_norm", d.width)
        for index in range(layers):
            shapes |= _layer(f"model.{side}.layers.{index}", d.width, ffn, crosses=side == "decoder")
    return shapes


def _layer(prefix: str, width: int, ffn: int, *, crosses: bool) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for attention in ("self_attn", "encoder_attn") if crosses else ("self_attn",):
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{prefix}.{attention}.{projection}.weight"] = (width, width)
            if projection != "k_proj":
                shapes[f"{prefix}.{attention}.{projection}.bias"] = (width,)
        shapes |= _norm(f"{prefix}.{attention}_layer_norm", width)
    shapes |= {f"{prefix}.fc1.weight": (ffn, width), f"{prefix}.fc1.bias": (ffn,)}
    shapes |= {f"{prefix}.fc2.weight": (width, ffn), f"{prefix}.fc2.bias": (width,)}
    return shapes | _norm(f"{prefix}.final_layer_norm", width)


def _norm(prefix: str, width: int) -> dict[str, Shape]:
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def check_weights(path: Path, dimensions: Dimensions, weights: Mapping[str, Weight]) -> None:
    """Raise `ModelError` that names the file for missing or unexpected weights and wrong shapes."""
    expected = expected_shapes(dimensions)
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    for names, what in ((missing, "lacks"), (unknown, "has weights that no Whisper model has:")):
        if names:
            raise ModelError(
                f"{path} {what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)} in total): "
                "it is damaged or not a Whisper model; copy or download it again"
            )
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ModelError(
                f"{path}: {name} has the shape {weights[name].shape} instead of {shape}: "
                "it is damaged; copy or download it again"
            )


def count_parameters(weights: Mapping[str, Weight]) -> int:
    """The number of parameters."""
    return sum(math.prod(weight.shape) for weight in weights.values())
