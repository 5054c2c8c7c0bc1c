"""How much a recording tells of a text: the probability of the text with the sound, beside that without it.

    gain = (1 / L) sum over l of  log P(token l | sound, tokens before) - log P(token l | silence, tokens before)

It is the pointwise mutual information of a sound and a text by a Whisper-family model, in nats per token. Of another
recording's text the sound tells nothing: about 0. How a text is spelled, its rare words and its case count on both
sides, and what the model would write itself does not count: a hard recording, or one that makes it invent words, still
tells of its own text.

Shapes: B windows, L tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.alignment.forced import text_tokens
from linnet.arrays import to_numpy
from linnet.audio.mel import log_mel
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.engines.protocol import Engine
from linnet.models.whisper import WhisperModel
from linnet.text.words import bears_sound

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextGain:
    """The `gain` of a text from its sound, and its `score` with it: mean log-probabilities of its tokens, in nats."""

    gain: float
    score: float
    tokens: int


class GainScorer:
    """Scores texts against recordings of at most a window by one model on one engine."""

    def __init__(self, model: WhisperModel, engine: Engine) -> None:
        self._model, self._engine = model, engine
        self._silence: dict[int, Any] = {}  # encoded, by samples: windows have one length with most models

    def score(
        self, sounds: Sequence[Samples], texts: Sequence[str], languages: Sequence[str | None]
    ) -> list[TextGain | str]:
        """The gain of each text from its sound, or the reason why it cannot be had.

        Sounds of one language are computed together: give as many as fit in memory, of similar length. Of a text with
        more tokens than the model holds the first ones are scored. A language that the model does not know is its first
        one.
        """
        found: list[TextGain | str] = [""] * len(sounds)
        groups: dict[tuple[int, ...], list[int]] = {}
        tokens: dict[int, list[int]] = {}
        for row, (sound, text, language) in enumerate(zip(sounds, texts, languages, strict=True)):
            tokens[row] = text_tokens(self._model.vocabulary.tokenizer, text)
            if not bears_sound(text):
                found[row] = "without words"
            elif len(sound) > self._model.window_samples:
                found[row] = f"longer than the model's window of {self._model.window_samples / SAMPLE_RATE:g} s"
            else:
                groups.setdefault(self._prefix(language), []).append(row)
        for prefix, rows in groups.items():
            given = [tokens[row][: self._model.max_length - len(prefix)] for row in rows]
            for row, one in zip(rows, self._gains([sounds[row] for row in rows], prefix, given), strict=True):
                found[row] = one
        return found

    def _prefix(self, language: str | None) -> tuple[int, ...]:
        vocabulary: Any = self._model.vocabulary
        spoken = language if language in vocabulary.languages else next(iter(vocabulary.languages), None)
        options = DecodingOptions(timestamps=False)
        return tuple(build_prefix(vocabulary, options, language=spoken, max_length=self._model.max_length)[0])

    def _gains(
        self, sounds: Sequence[Samples], prefix: tuple[int, ...], tokens: Sequence[Sequence[int]]
    ) -> list[TextGain]:
        length = max(self._model.padded(len(sound)) for sound in sounds)
        waves = np.stack([np.pad(sound, (0, length - len(sound))) for sound in sounds])
        encoded = self._encode(waves)
        if length not in self._silence:
            self._silence[length] = self._encode(np.zeros((1, length), np.float32))
        silence = self._silence[length].select([0] * len(sounds))
        with_sound, without = (self._log_probabilities(each, prefix, tokens) for each in (encoded, silence))
        return [
            TextGain(float((one[: len(own)] - other[: len(own)]).mean()), float(one[: len(own)].mean()), len(own))
            for one, other, own in zip(with_sound, without, tokens, strict=True)
        ]

    def _encode(self, waves: NDArray[np.float32]) -> Any:
        return self._engine.encode(log_mel(self._engine.place(waves), self._model.n_mels))

    def _log_probabilities(self, encoded: Any, prefix: tuple[int, ...], tokens: Sequence[Sequence[int]]) -> Floats:
        """The log-probability of each token after those before it, [B, L]; meaningless after the end of a text."""
        rows, most = np.arange(len(tokens)), max(len(own) for own in tokens)
        padded = np.full((len(tokens), most), self._model.vocabulary.end)
        for row, own in enumerate(tokens):
            padded[row, : len(own)] = own
        state = self._engine.start(encoded, max_length=self._model.max_length)
        given = np.tile(np.array(prefix), (len(tokens), 1))
        found = np.empty(padded.shape)
        for place in range(most):
            logits = to_numpy(self._engine.step(state, given)).astype(np.float64)
            top = logits.max(axis=1)
            given = padded[:, place : place + 1]
            found[:, place] = logits[rows, given[:, 0]] - top - np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return found
