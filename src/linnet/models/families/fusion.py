"""Linnet's models of a speech encoder, a projector and a language model: see `linnet.models.fusion`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.models.families.seq2seq import Seq2SeqFamily


class FusionFamily(Seq2SeqFamily):
    """`linnet_fusion`; in reports seq2seq, by its interface."""

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """By its model type."""
        return config.get("model_type") == "linnet_fusion"

    def auto_class(self) -> Any:
        """See `Family`; registers the models with Transformers first."""
        from linnet.models.fusion.auto import register

        register()
        return super().auto_class()

    def encoder(self, model: Any) -> Any:
        """The speech encoder without the projector, unlike `get_encoder`."""
        return model.encoder

    def decoder(self, model: Any) -> Any:
        """That of the language model."""
        return model.language_model.get_decoder()

    def encoder_config(self, config: Any) -> Any:
        """See `Family`."""
        return config.audio_config

    def clip_frames(self, model: Any) -> Callable[[int], int]:
        """The frames of all its windows."""
        frames: Callable[[int], int] = model.windowing.frames
        return frames
