"""When the words of a known text were said: our own word times, with the decoder fed that text.

Shapes: T mel frames, M mel bins, L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from linnet.alignment.aligner import DecodedWindow, word_times
from linnet.alignment.grouping import split_words
from linnet.alignment.words import TimedWord
from linnet.arrays import to_numpy
from linnet.audio.mel import log_mel
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.engines.protocol import Engine
from linnet.errors import OptionError
from linnet.models.whisper import WhisperModel
from linnet.text.words import without_spaces

LOSS = 1.5  # nats per token between text that is said and text that is not
HOPELESS = 30.0  # nats: text that falls so far behind is not said


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
    """Aligns known texts with recordings of any length, by one model on one engine.

    A recording longer than the model's window is aligned window by window, each from the end of the last word before.
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
        spoken = language if language in vocabulary.languages else next(iter(vocabulary.languages), None)
        prefix, _ = build_prefix(
            vocabulary, DecodingOptions(timestamps=False), language=spoken, max_length=model.max_length
        )
        tokens = tuple(text_tokens(vocabulary.tokenizer, text))
        if not split_words(vocabulary, tokens):
            return "without words"
        words: list[TimedWord] = []
        scores: list[float] = []
        start, room = 0, model.max_length - len(prefix)
        while rest := tokens[len(scores) :]:
            sound = samples[start : start + model.window_samples]
            last = start + len(sound) == len(samples)
            if last and len(rest) > room:
                return "more words than the model's tokens hold"
            placed, own = self._window(sound, tuple(prefix), rest[:room], whole=last)
            offset = start / SAMPLE_RATE
            words += [replace(word, start=offset + word.start, end=offset + word.end) for word in placed]
            scores += own
            if last:
                break
            start = round(words[-1].end * SAMPLE_RATE) if placed else start + len(sound) // 2
        if len(scores) < len(tokens) or any(later.end < before.end for before, later in pairwise(words)):
            return "its words could not be placed one after another"
        unplaced = sum(word.interpolated for word in words) / len(words)
        return ForcedWords(tuple(words), float(np.mean(scores)), unplaced)

    def _window(
        self, samples: Samples, prefix: tuple[int, ...], tokens: tuple[int, ...], *, whole: bool
    ) -> tuple[list[TimedWord], list[float]]:
        """The words in one window, and the scores of their tokens.

        Unless the `whole` text is said in it, they are its first words as far as it is, without the last one, which the
        window may cut.
        """
        model = self._model
        wave = np.pad(samples, (0, model.padded(len(samples)) - len(samples)))
        encoded = self._engine.encode(log_mel(self._engine.place(wave[None]), model.n_mels))
        steps = self._scores(encoded, prefix, tokens)
        scores = [score for score, _ in steps] if whole else self._said(tokens, steps)
        window = DecodedWindow(prefix, tokens[: len(scores)], scores, samples)
        vocabulary, heads = model.vocabulary, self._heads
        (words,) = word_times(self._engine, encoded, [window], vocabulary, heads.pairs, heads.lag)
        if whole:
            return words, scores if words else []
        return words[:-1], scores[: words[-2].indices[-1] + 1] if len(words) > 1 else []

    def _said(self, tokens: Sequence[int], steps: Iterator[tuple[float, float]]) -> list[float]:
        """The scores of the first tokens, as many as are said, from those of all and of the end in place of each.

        A token that is said loses less than `LOSS`, one that is not loses more; the text ends between two words.
        """
        begins = {word.indices[0] for word in split_words(self._model.vocabulary, tokens)}
        scores: list[float] = []
        count, best, total = 0, -math.inf, 0.0
        for place, (score, end) in enumerate(steps):
            if place in begins and total + end > best:
                count, best = place, total + end
            scores.append(score)
            total += score + LOSS
            if total < best - HOPELESS:
                return scores[:count]
        return scores if total > best else scores[:count]

    def _scores(self, encoded: Any, prefix: Sequence[int], tokens: Sequence[int]) -> Iterator[tuple[float, float]]:
        """The log-probability of each token after those before it, and of the end in its place."""
        state = self._engine.start(encoded, max_length=self._model.max_length)
        given, end = np.array([list(prefix)]), self._model.vocabulary.end
        for token in tokens:
            logits = to_numpy(self._engine.step(state, given))[0].astype(np.float64)
            top = float(logits.max())
            whole = top + float(np.log(np.exp(logits - top).sum()))
            yield float(logits[token]) - whole, float(logits[end]) - whole
            given = np.array([[token]])


def text_tokens(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text as Whisper writes it: with a space before it, unless its script has none between words."""
    plain = text.strip()
    if not plain:
        return []
    spaced = plain if without_spaces(plain[0]) else f" {plain}"
    tokens: list[int] = tokenizer(spaced, add_special_tokens=False)["input_ids"]
    return tokens
