"""Linnet's own models of a speech encoder, a projector and a language model: see `linnet.models.fusion`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.models.families.seq2seq import Seq2SeqFamily


class FusionFamily(Seq2SeqFamily):
    """`linnet_fusion`; reports call it by the way in which it is driven, seq2seq."""

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """By its type."""
        return config.get("model_type") == "linnet_fusion"

    def auto_class(self) -> Any:
        """See `Family`; Transformers learns of the models first."""
        from linnet.models.fusion.auto import register

        register()
        return super().auto_class()

    def encoder(self, model: Any) -> Any:
        """The speech encoder alone: `get_encoder` has the projector, too."""
        return model.encoder

    def decoder(self, model: Any) -> Any:
        """The language model's."""
        return model.language_model.get_decoder()

    def encoder_config(self, config: Any) -> Any:
        """See `Family`."""
        return config.audio_config

    def clip_frames(self, model: Any) -> Callable[[int], int]:
        """Those of all windows that it is cut into."""
        frames: Callable[[int], int] = model.windowing.frames
        return frames
