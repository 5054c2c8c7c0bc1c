"""The interface of a family of models.

Shapes: B windows, T output frames, V vocabulary, D encoder width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linnet.audio.types import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    from torch import Tensor

WINDOW_SECONDS = 30.0


class Family(ABC):
    """A family of models with common loading and use. Each is a single object; compare with `is`."""

    name: str  # in reports
    title: str  # in sentences

    @abstractmethod
    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """Whether a model with this config.json belongs to the family; the first match in `FAMILIES` counts."""

    def auto_class(self) -> Any:
        """The Transformers class whose `from_pretrained` loads a folder."""
        from transformers import AutoModelForSpeechSeq2Seq

        return AutoModelForSpeechSeq2Seq

    def window_seconds(self, config: Mapping[str, Any], processor: Mapping[str, Any] | None = None) -> float:
        """Seconds of audio per window: 30, or less if the config has fewer source positions (of 10 ms or more).

        `processor` holds the settings of its feature extractor.
        """
        del processor
        positions = config.get("max_source_positions")
        return WINDOW_SECONDS if positions is None else min(WINDOW_SECONDS, positions / 100.0)

    def features(self, processor: Any, windows: Sequence[Samples]) -> dict[str, Tensor]:
        """The model's inputs for these windows from its processor, padded to the longest."""
        from transformers import ProcessorMixin

        given = {"audio": list(windows)} if isinstance(processor, ProcessorMixin) else {}
        positional = () if given else (list(windows),)
        return dict(processor(*positional, **given, sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt"))

    def encoder(self, model: Any) -> Any:
        """The encoder module, from features to frames."""
        return model.get_encoder()

    def decoder(self, model: Any) -> Any:
        """The decoder module."""
        return model.get_decoder()

    def encode(self, model: Any, features: Mapping[str, Tensor]) -> Tensor:
        """The float32 output of the encoder for features, [B, T, D]."""
        encoded: Tensor = model.get_encoder()(**features).last_hidden_state.float()
        return encoded

    def frame_counter(self, model: Any) -> Callable[[Tensor], Tensor] | None:
        """The function from unpadded input lengths [B] to output lengths [B]; None if the model has none."""
        del model
        return None

    def encoder_config(self, config: Any) -> Any:
        """The encoder's part of a config if `fusion.encoders` supports it; None for other models."""
        del config
        return None

    def clip_frames(self, model: Any) -> Callable[[int], int] | None:
        """The exact number of encoder frames for the samples of a clip of any length; None if unknown."""
        del model
        return None
