"""What a converted model is: its sizes and its precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class ModelShape:
    """What must be known of a model to run its converted form."""

    layers: int  # of the decoder
    heads: int
    channels: int
    mel_bins: int
    frames: int  # of a whole window
    tokens: int  # that a sequence may hold

    @classmethod
    def without_decoder(cls) -> Self:
        """Of a model whose converted form says all of it."""
        return cls(0, 0, 0, 0, 0, 0)

    @classmethod
    def of(cls, module: Any) -> ModelShape:
        """Read off a `WhisperForConditionalGeneration`."""
        config = module.config
        heads = config.decoder_attention_heads
        return cls(
            layers=config.decoder_layers,
            heads=heads,
            channels=config.d_model // heads,
            mel_bins=config.num_mel_bins,
            frames=2 * config.max_source_positions,
            tokens=config.max_target_positions,
        )


@dataclass(frozen=True)
class Precision:
    """The precision of a converted model.

    `weights` are f32, f16, int8 with a scale and a zero point for each output channel, or w8a8: int8 too, and the
    encoder's activations with them, so that its products are of 8 bits. `compute`, f32 or bf16, is what all other
    products are computed in, and what cross-attention keys and values are handed over in.
    """

    weights: str
    compute: str

    def __str__(self) -> str:
        return f"{self.weights}-{self.compute}"

    @property
    def calibrated(self) -> bool:
        """Whether converting takes sound to calibrate on."""
        return self.weights == "w8a8"

    @property
    def bits(self) -> type[Any]:
        """What NumPy holds `compute` in: it knows no bfloat16, so of that the bits."""
        return np.uint16 if self.compute == "bf16" else np.float32
