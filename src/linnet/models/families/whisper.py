"""Whisper: the family that Linnet's engines run and its own decoding drives; `models.whisper` loads it for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.models.families.base import WINDOW_SECONDS, Family


class WhisperFamily(Family):
    """WhisperForConditionalGeneration."""

    name, title = "whisper", "WhisperFamily"

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """By its architecture; by its type where the config names none."""
        architectures = config.get("architectures") or []
        typed = config.get("model_type") == "whisper" and not architectures
        return typed or "WhisperForConditionalGeneration" in architectures

    def window_seconds(self, config: Mapping[str, Any], processor: Mapping[str, Any] | None = None) -> float:
        """What its processor pads each window to."""
        del config
        return float((processor or {}).get("chunk_length") or WINDOW_SECONDS)

    def encoder_config(self, config: Any) -> Any:
        """All of it."""
        return config

    def clip_frames(self, model: Any) -> Callable[[int], int]:
        """One for every 20 ms."""
        from linnet.models.fusion.encoders import speech_encoder

        kind = speech_encoder(model.config)
        return lambda samples: kind.frames(max(samples, kind.shortest))
