"""Whisper: the family of Linnet's engines and decoding, loaded by `models.whisper`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.models.families.base import WINDOW_SECONDS, Family


class WhisperFamily(Family):
    """WhisperForConditionalGeneration."""

    name, title = "whisper", "WhisperFamily"

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """By its architecture, or by its type if the config names none."""
        architectures = config.get("architectures") or []
        typed = config.get("model_type") == "whisper" and not architectures
        return typed or "WhisperForConditionalGeneration" in architectures

    def window_seconds(self, config: Mapping[str, Any], processor: Mapping[str, Any] | None = None) -> float:
        """The length to which its processor pads each window."""
        del config
        return float((processor or {}).get("chunk_length") or WINDOW_SECONDS)

    def encoder_config(self, config: Any) -> Any:
        """The whole config."""
        return config

    def clip_frames(self, model: Any) -> Callable[[int], int]:
        """One frame per 20 ms."""
        from linnet.models.fusion.encoders import speech_encoder

        kind = speech_encoder(model.config)
        return lambda samples: kind.frames(max(samples, kind.shortest))
