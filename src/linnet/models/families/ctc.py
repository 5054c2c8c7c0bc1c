"""CTC models: an encoder that emits a letter or a blank per frame, loaded by Transformers' AutoModelForCTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from linnet.models.families.base import Family
from linnet.models.families.known import known
from linnet.models.families.seq2seq import listed

if TYPE_CHECKING:
    from torch import Tensor


class CtcFamily(Family):
    """wav2vec 2.0, HuBERT, Parakeet CTC and so on."""

    name, title = "ctc", "CTC"

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """By Transformers' list of architectures."""
        return listed(config, self.types())

    def types(self) -> dict[str, str]:
        """The architecture of each supported model type."""
        return dict(known("MODEL_FOR_CTC_MAPPING_NAMES"))

    def auto_class(self) -> Any:
        """See `Family`."""
        from transformers import AutoModelForCTC

        return AutoModelForCTC

    def encoder(self, model: Any) -> Any:
        """Everything except the output layer."""
        return getattr(model, "encoder", model.base_model)

    def encode(self, model: Any, features: Mapping[str, Tensor]) -> Tensor:
        """The logits [B, T, V]."""
        logits: Tensor = model(**features).logits.float()
        return logits

    def frame_counter(self, model: Any) -> Callable[[Tensor], Tensor] | None:
        """The model's own function, under any of its names."""
        for name in ("_get_subsampling_output_length", "_get_feat_extract_output_lengths"):
            if hasattr(model, name):
                found: Callable[[Tensor], Tensor] = getattr(model, name)
                return found
        return None
