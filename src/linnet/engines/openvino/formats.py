"""The sizes and the precision of a converted model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class ModelShape:
    """The sizes that are needed to run a converted model."""

    layers: int  # of the decoder
    heads: int
    channels: int
    mel_bins: int
    frames: int  # of a whole window
    tokens: int  # maximum tokens of a sequence

    @classmethod
    def without_decoder(cls) -> Self:
        """The shape of a model without a decoder."""
        return cls(0, 0, 0, 0, 0, 0)

    @classmethod
    def of(cls, module: Any) -> ModelShape:
        """The shape of a `WhisperForConditionalGeneration`."""
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

    `weights` are f32, f16, int8 with a scale and a zero point per output channel, or w8a8: int8 weights and int8
    encoder activations, so that its products are 8-bit. `compute`, f32 or bf16, is the precision of all other products
    and of cross-attention keys and values.
    """

    weights: str
    compute: str

    def __str__(self) -> str:
        return f"{self.weights}-{self.compute}"

    @property
    def calibrated(self) -> bool:
        """Whether the conversion needs calibration audio."""
        return self.weights == "w8a8"

    @property
    def bits(self) -> type[Any]:
        """The NumPy type for `compute`; for bfloat16, which NumPy lacks, its bits."""
        return np.uint16 if self.compute == "bf16" else np.float32
