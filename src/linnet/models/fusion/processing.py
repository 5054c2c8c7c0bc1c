"""Sound to samples, text to labels, tokens to text, for a fusion model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, ProcessorMixin

from .errors import ModelError

RATE = 16000
IGNORED = -100


class FusionProcessor(ProcessorMixin):  # type: ignore[misc]
    """Makes `input_values` and `attention_mask` of sound, and `labels` of text.

    The features that an encoder wants are made inside the model, window by window; here sound is only padded.
    `answer_end` is the token that ends an answer.
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
        """Tensors of one or several sounds (arrays [N] at 16 kHz), of one or several texts, or of both.

        Raises `ModelError` where neither is given or another rate is.
        """
        if audio is None and text is None:
            raise ModelError("the processor needs `audio`, `text` or both")
        if sampling_rate not in (None, RATE):
            raise ModelError(f"the model hears 16000 Hz, the sound is given at {sampling_rate} Hz: resample it first")
        made: dict[str, Any] = {}
        if audio is not None:
            given = {"padding": True, "return_attention_mask": True, "return_tensors": "pt", **kwargs}
            made |= dict(self.feature_extractor(audio, sampling_rate=RATE, **given))
        if text is not None:
            made["labels"] = self.labels([text] if isinstance(text, str) else text)
        return BatchFeature(made)

    def labels(self, texts: Sequence[str]) -> torch.Tensor:
        """[B, L]: the tokens of each text and the end of the answer, padded with -100. An empty text is the end alone.

        A text that spells a special token stays text.
        """
        encoded = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        rows = [torch.tensor([*ids, self.answer_end]) for ids in encoded]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)

    @property
    def model_input_names(self) -> list[str]:
        """What the model's `forward` takes."""
        return ["input_values", "attention_mask", "labels"]
