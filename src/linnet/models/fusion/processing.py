"""The processor of a fusion model: audio to samples, text to labels, tokens to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, ProcessorMixin

from .errors import ModelError

RATE = 16000
IGNORED = -100


class FusionProcessor(ProcessorMixin):  # type: ignore[misc]
    """Makes `input_values` and `attention_mask` from audio, and `labels` from text.

    Encoder features are computed inside the model; here audio is only padded. `answer_end` ends an answer.
    """

    def __init__(
        self, feature_extractor: Any = None, tokenizer: Any = None, answer_end: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(feature_extractor, tokenizer, **kwargs)
        self.answer_end = answer_end

    def __call__(
        self,
        audio: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        sampling_rate: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Tensors of one or several recordings (arrays [N] at 16 kHz), texts, or both.

        Raises `ModelError` if neither is given, or for another sampling rate.
        """
        if audio is None and text is None:
            raise ModelError("the processor needs `audio`, `text` or both")
        if sampling_rate not in (None, RATE):
            raise ModelError(f"the model takes audio at 16000 Hz, got {sampling_rate} Hz: resample it first")
        made: dict[str, Any] = {}
        if audio is not None:
            given = {"padding": True, "return_attention_mask": True, "return_tensors": "pt", **kwargs}
            made |= dict(self.feature_extractor(audio, sampling_rate=RATE, **given))
        if text is not None:
            made["labels"] = self.labels([text] if isinstance(text, str) else text)
        return BatchFeature(made)

    def labels(self, texts: Sequence[str]) -> torch.Tensor:
        """[B, L]: the tokens of each text and the end of the answer, padded with -100; special tokens are read as
        text."""
        encoded = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        rows = [torch.tensor([*ids, self.answer_end]) for ids in encoded]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)

    @property
    def model_input_names(self) -> list[str]:
        """The arguments of the model's `forward`."""
        return ["input_values", "attention_mask", "labels"]
