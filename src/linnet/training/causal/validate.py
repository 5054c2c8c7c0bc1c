"""Validation of a causal model: WER and lag of streaming decoding, and WER of whole windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet.alignment.grouping import split_words
from linnet.models.vocabulary import WhisperVocabulary
from linnet.scoring.alignment import find_spans
from linnet.training.causal.batches import Shape
from linnet.training.causal.decode import StreamResult, decode_stream, decode_windows
from linnet.training.causal.options import CausalOptions
from linnet.training.causal.targets import CausalExample
from linnet.training.context import Score

_BATCH = 16


class StreamValidation:
    """Decodes recordings with known words as streams; `languages` are the recordings' languages."""

    def __init__(
        self,
        vocabulary: WhisperVocabulary,
        shape: Shape,
        examples: Sequence[CausalExample],
        options: CausalOptions,
        score: Score,
        languages: Sequence[str | None],
    ) -> None:
        self._vocabulary, self._shape, self._options, self._score = vocabulary, shape, options, score
        order = sorted(range(len(examples)), key=lambda row: examples[row].seconds)
        self._examples = [examples[row] for row in order]
        self._languages = [languages[row] for row in order]
        self._references = [vocabulary.text(one.tokens).strip() for one in self._examples]

    def streamed(self, model: Any, block: int) -> dict[str, float]:
        """Compute `wer` of streams in blocks of `block` frames, and `lag_p50` and `lag_p95` of their words in seconds.

        The lag of a word is the time at which it became final minus the end of the reference word aligned to it; only
        correctly recognized words have one.
        """
        was_training = model.training
        model.eval()
        found: list[StreamResult] = []
        for first in range(0, len(self._examples), _BATCH):
            group = self._examples[first : first + _BATCH]
            found += decode_stream(model, self._vocabulary, self._shape, group, self._options, block=block)
        model.train(was_training)
        texts = [self._vocabulary.text(one.tokens).strip() for one in found]
        lags = [lag for one, result in zip(self._examples, found, strict=True) for lag in self._lags(one, result)]
        middle, late = np.percentile(lags, [50, 95]) if lags else (float("nan"), float("nan"))
        wer = self._score(self._references, texts, self._languages)
        return {"wer": wer, "lag_p50": float(middle), "lag_p95": float(late)}

    def whole(self, model: Any) -> float:
        """Compute the WER of whole windows."""
        was_training = model.training
        model.eval()
        texts: list[str] = []
        for first in range(0, len(self._examples), _BATCH):
            group = self._examples[first : first + _BATCH]
            texts += [self._vocabulary.text(row).strip() for row in decode_windows(model, self._shape, group)]
        model.train(was_training)
        return self._score(self._references, texts, self._languages)

    def figures(self, model: Any) -> dict[str, float]:
        """Compute all validation metrics: streaming with default blocks, and `whole_wer` of whole windows."""
        return {**self.streamed(model, self._options.default_block), "whole_wer": self.whole(model)}

    def _lags(self, example: CausalExample, result: StreamResult) -> list[float]:
        """The lag of each correctly recognized word of a recording."""
        reference = split_words(self._vocabulary, example.tokens)
        decoded = split_words(self._vocabulary, result.tokens)
        spans = find_spans([_plain(word.text) for word in reference], [_plain(word.text) for word in decoded])
        pairs = [
            (reference[span.reference_start + place], decoded[span.hypothesis_start + place])
            for span in spans
            if span.kind == "equal"
            for place in range(span.reference_end - span.reference_start)
        ]
        return [result.times[word.indices[-1]] - example.ends[own.indices[-1]] for own, word in pairs]


def _plain(word: str) -> str:
    """The form in which words are compared: letters and digits, case-folded."""
    return "".join(letter for letter in word.casefold() if letter.isalnum())
