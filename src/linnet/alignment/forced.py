"""When the words of a known text were said: our own word times, with the decoder fed that text.

Shapes: T mel frames, M mel bins, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from linnet.alignment.aligner import DecodedWindow, word_times
from linnet.alignment.grouping import split_words
from linnet.alignment.words import TimedWord
from linnet.arrays import to_numpy
from linnet.audio.mel import log_mel
from linnet.audio.types import Samples
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.engines.protocol import Engine
from linnet.errors import OptionError
from linnet.models.whisper import WhisperModel
from linnet.text.words import without_spaces


@dataclass(frozen=True)
class ForcedWords:
    """The words of a text in order with their times in seconds.

    `score` is the mean log-probability of its tokens; `unplaced` the share of words that attention hardly saw in their
    own places.
    """

    words: tuple[TimedWord, ...]
    score: float
    unplaced: float


class ForcedAligner:
    """Aligns known texts with recordings of at most one window, by one model on one engine.

    Raises `OptionError` for a model whose alignment heads are not known.
    """

    def __init__(self, model: WhisperModel, engine: Engine) -> None:
        if model.alignment_heads is None:
            raise OptionError(
                f"{model.name}: which heads tell word times is not known: `linnet models align-heads` finds them"
            )
        self._model, self._engine, self._heads = model, engine, model.alignment_heads

    def align(self, samples: Samples, text: str, language: str | None) -> ForcedWords | str:
        """The words of a text, or the reason why they cannot be placed."""
        model = self._model
        vocabulary: Any = model.vocabulary
        if len(samples) > model.window_samples:
            return "longer than the model's window"
        spoken = language if language in vocabulary.languages else next(iter(vocabulary.languages), None)
        prefix, _ = build_prefix(
            vocabulary, DecodingOptions(timestamps=False), language=spoken, max_length=model.max_length
        )
        tokens = tuple(text_tokens(vocabulary.tokenizer, text))
        if not split_words(vocabulary, tokens):
            return "without words"
        if len(prefix) + len(tokens) > model.max_length:
            return "more words than the model's tokens hold"
        wave = np.pad(samples, (0, model.padded(len(samples)) - len(samples)))
        encoded = self._engine.encode(log_mel(self._engine.place(wave[None]), model.n_mels))
        scores = self._scores(encoded, prefix, tokens)
        window = DecodedWindow(tuple(prefix), tokens, scores, samples)
        (words,) = word_times(self._engine, encoded, [window], vocabulary, self._heads.pairs, self._heads.lag)
        if not words or any(later.end < before.end for before, later in pairwise(words)):
            return "its words could not be placed one after another"
        unplaced = sum(word.interpolated for word in words) / len(words)
        return ForcedWords(tuple(words), float(np.mean(scores)), unplaced)

    def _scores(self, encoded: Any, prefix: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """The log-probability of each token after those before it."""
        state = self._engine.start(encoded, max_length=self._model.max_length)
        given, scores = np.array([list(prefix)]), []
        for token in tokens:
            logits = to_numpy(self._engine.step(state, given))[0].astype(np.float64)
            top = float(logits.max())
            scores.append(float(logits[token]) - top - float(np.log(np.exp(logits - top).sum())))
            given = np.array([[token]])
        return scores


def text_tokens(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text as Whisper writes it: with a space before it, unless its script has none between words."""
    plain = text.strip()
    if not plain:
        return []
    spaced = plain if without_spaces(plain[0]) else f" {plain}"
    tokens: list[int] = tokenizer(spaced, add_special_tokens=False)["input_ids"]
    return tokens
