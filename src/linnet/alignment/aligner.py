"""Word times of windows decoded by a Whisper-family model.

Shapes: B windows, H heads, L tokens, P encoder frames (20 ms), T frames (10 ms), N words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linnet.alignment.activity import FRAME, SpeechActivity, speech_activity
from linnet.alignment.attention import smear, word_attention
from linnet.alignment.dtw import Floats, align_words
from linnet.alignment.grouping import WordTokens, split_words
from linnet.alignment.words import TimedWord, interpolate
from linnet.arrays import to_numpy
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefixes
from linnet.decoding.result import DecodingResult
from linnet.engines.protocol import DecoderEngine, EncoderOutput
from linnet.models.alignment_heads import AlignmentHeads, Head
from linnet.models.vocabulary import WhisperVocabulary
from linnet.text.words import bears_sound

SECONDS = FRAME / SAMPLE_RATE  # of a frame
LEAST_LOOKED = 0.2  # the share of a word's attention that must lie in its span; below it, the word is `interpolated`
_BUDGET = 64_000_000  # attention values held at a time: 256 MB
_POSITIONS = 1500  # of a Whisper window, for this budget


@dataclass(frozen=True)
class DecodedWindow:
    """One decoded window: the prefix, the tokens and their log-probabilities, and the samples without padding."""

    prefix: Sequence[int]
    tokens: Sequence[int]
    log_probabilities: Sequence[float]
    samples: Samples


class Aligner:
    """Computes word times of decoded windows with the alignment heads of one model on any engine."""

    def __init__(
        self, engine: DecoderEngine, vocabulary: WhisperVocabulary, heads: AlignmentHeads, *, max_length: int
    ) -> None:
        self._engine, self._vocabulary, self._heads, self._max_length = engine, vocabulary, heads, max_length

    def word_times(
        self,
        encoded: EncoderOutput,
        decoded: Sequence[DecodingResult],
        options: DecodingOptions,
        *,
        samples: Sequence[Samples],
        prompts: Sequence[Sequence[int]] | None = None,
    ) -> list[list[TimedWord]]:
        """The words of the results of `Decoder.decode` for the same windows, options and prompts; see `word_times`.

        `samples` are each window's audio without padding. Raises `ValueError` for sequences of different lengths, or
        prompts that `decode` refuses.
        """
        languages = [one.language for one in decoded]
        prefixes, _ = build_prefixes(
            self._vocabulary, options, languages=languages, prompts=prompts, max_length=self._max_length
        )
        windows = [
            DecodedWindow(prefix, one.tokens, one.token_logprobs, sound)
            for prefix, one, sound in zip(prefixes, decoded, samples, strict=True)
        ]
        return word_times(self._engine, encoded, windows, self._vocabulary, self._heads.pairs, self._heads.lag)


def word_times(
    engine: DecoderEngine,
    encoded: EncoderOutput,
    windows: Sequence[DecodedWindow],
    vocabulary: WhisperVocabulary,
    heads: Sequence[Head],
    lag: float = 0.0,
) -> list[list[TimedWord]]:
    """The words of each window, in order, without overlap, from 0 to the end of its samples.

    A word's span follows from the attention of the (layer, head) pairs `heads` while the word is decoded, shifted by
    `lag` seconds, and from the onset of sound (`dtw.align_words`). Timestamps, which are coarser and sometimes wrong,
    are used only if a window is too short for its words: these are then distributed over the time between timestamps.
    Such words are marked as interpolated, and so are words with little attention in their own span.
    """
    words = [split_words(vocabulary, window.tokens) for window in windows]
    spoken = [row for row, found in enumerate(words) if found]
    times: list[list[TimedWord]] = [[] for _ in windows]
    for row, attention in _attention(engine, encoded, windows, spoken, heads):
        sound = speech_activity(windows[row].samples)
        times[row] = _window(windows[row], words[row], attention, vocabulary, round(lag / SECONDS), sound)
    return times


def place_words(
    window: DecodedWindow,
    attention: Floats,
    vocabulary: WhisperVocabulary,
    *,
    lag: float = 0.0,
    sound: SpeechActivity | None = None,
) -> list[TimedWord]:
    """The words of one window, timed as by `word_times`, from attention [H, L, P] that was kept while it was decoded.

    `sound` is how the window's samples stand out of their background, where that is known from more than these.
    """
    words = split_words(vocabulary, window.tokens)
    sound = speech_activity(window.samples) if sound is None else sound
    return _window(window, words, attention, vocabulary, round(lag / SECONDS), sound) if words else []


def _attention(
    engine: DecoderEngine,
    encoded: EncoderOutput,
    windows: Sequence[DecodedWindow],
    rows: Sequence[int],
    heads: Sequence[Head],
) -> Iterator[tuple[int, Floats]]:
    """Yield the attention [H, L, P] of each window, computed a few windows at a time."""
    sequences = {row: [*windows[row].prefix, *windows[row].tokens] for row in rows}
    waiting = sorted(rows, key=lambda row: -len(sequences[row]))
    while waiting:
        length = len(sequences[waiting[0]])
        fitting = max(1, _BUDGET // max(1, len(heads) * length * _POSITIONS))
        group, waiting = waiting[:fitting], waiting[fitting:]
        tokens = np.array([sequences[row] + [0] * (length - len(sequences[row])) for row in group])
        found = to_numpy(engine.align(encoded.select(group), tokens, heads))
        for row, attention in zip(group, found, strict=True):
            yield row, attention.astype(np.float64)


def _window(
    window: DecodedWindow,
    words: Sequence[WordTokens],
    attention: Floats,
    vocabulary: WhisperVocabulary,
    lag: int,
    sound: SpeechActivity,
) -> list[TimedWord]:
    frames, duration = len(sound.score), len(window.samples) / SAMPLE_RATE
    positions = min(
        attention.shape[-1], math.ceil((frames + max(lag, 0)) / 2)
    )  # the last word may reach into the padding
    looked = word_attention(attention, [_rows(window, word, vocabulary) for word in words], positions)
    mass = smear(looked, frames, lag)  # [N, T]
    spans = align_words(mass, sound.score, sound.level)
    if spans is None:
        return _divided(window, words, [_bounds(window, word, vocabulary, duration) for word in words])
    return [
        TimedWord(
            text=word.text,
            start=round(begin * SECONDS, 3),
            end=round(min(end * SECONDS, duration), 3),
            probability=_probability(window, word),
            interpolated=bool(row[begin:end].sum() < LEAST_LOOKED),
            indices=word.indices,
        )
        for word, row, (begin, end) in zip(words, mass, spans, strict=True)
    ]


def _rows(window: DecodedWindow, word: WordTokens, vocabulary: WhisperVocabulary) -> list[int]:
    """The decoding steps of a word's tokens, without those of its punctuation, which attend to pauses."""
    texts = {place: vocabulary.text([window.tokens[place]]) for place in word.indices}
    sounding = [place for place, text in texts.items() if bears_sound(text) or "\ufffd" in text]
    return [len(window.prefix) + place - 1 for place in sounding or word.indices]


def _bounds(
    window: DecodedWindow, word: WordTokens, vocabulary: WhisperVocabulary, duration: float
) -> tuple[float, float]:
    """The timestamps around a word, in seconds; the bounds of the window if there are none."""
    begin, step = vocabulary.timestamp_begin, vocabulary.seconds_per_timestamp
    before = [token for token in window.tokens[: word.indices[0]] if token >= begin]
    after = [token for token in window.tokens[word.indices[-1] :] if token >= begin]
    start = min((before[-1] - begin) * step if before else 0.0, duration)
    return start, max(start, min((after[0] - begin) * step if after else duration, duration))


def _probability(window: DecodedWindow, word: WordTokens) -> float | None:
    if not window.log_probabilities:
        return None
    own = [math.exp(window.log_probabilities[place]) for place in word.indices]
    return sum(own) / len(own)


def _divided(
    window: DecodedWindow, words: Sequence[WordTokens], bounds: Sequence[tuple[float, float]]
) -> list[TimedWord]:
    """Distribute words over the time between the timestamps around them, in proportion to their characters."""
    times: list[tuple[float, float]] = []
    reached = 0.0
    begins = [0, *(at for at, (one, two) in enumerate(pairwise(bounds), start=1) if one != two), len(words)]
    for first, last in pairwise(begins):
        start = max(reached, bounds[first][0])
        end = max(start, bounds[first][1])
        times += interpolate([len(word.text.strip()) or 1 for word in words[first:last]], start, end)
        reached = end
    return [
        TimedWord(word.text, round(start, 3), round(end, 3), _probability(window, word), True, word.indices)
        for word, (start, end) in zip(words, times, strict=True)
    ]
