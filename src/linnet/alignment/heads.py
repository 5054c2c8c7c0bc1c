"""Find the alignment heads of a model's decoder on utterances with known word times."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.alignment.aligner import DecodedWindow, word_times
from linnet.alignment.grouping import WordTokens, split_words
from linnet.arrays import to_numpy
from linnet.audio.mel import log_mel
from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix, resolve_language
from linnet.engines.protocol import DecoderEngine, EncoderEngine, Engine
from linnet.errors import LinnetError, OptionError
from linnet.models.alignment_heads import Head
from linnet.models.whisper import SAMPLES_PER_POSITION, WhisperModel
from linnet.notices import Notify
from linnet.urls import public_name

MOST_HEADS = 10
LAGS = tuple(step / 50 for step in range(-5, 13))  # seconds
_FAR = 0.3  # seconds: a larger error means a misaligned word, not a late one
NEAR_BEST = 0.8  # heads with at least this share of the best score are chosen


@dataclass(frozen=True)
class KnownWords:
    """An utterance with its words and their (start, end) in seconds."""

    audio: str
    language: str | None
    words: tuple[str, ...]
    times: tuple[tuple[float, float], ...]


def read_known_words(path: Path) -> Iterator[KnownWords]:
    """Read a JSONL manifest with the keys `audio`, `words` ([{"word", "start", "end"}]) and optionally `language`.

    A relative `audio` path is relative to the manifest. Raises `LinnetError` that names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LinnetError(f"{path}: cannot read the manifest: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parse(line, path, number)


def _parse(line: str, path: Path, number: int) -> KnownWords:
    try:
        row = json.loads(line)
        audio = str(row["audio"])
        words = tuple(str(word["word"]).strip() for word in row["words"])
        times = tuple((float(word["start"]), float(word["end"])) for word in row["words"])
        if not all(words) or not all(0 <= start < end < math.inf for start, end in times):
            raise ValueError("each word needs letters, and a start before its end")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LinnetError(
            f'{path}, line {number}: expected {{"audio": ..., "words": [{{"word", "start", "end"}}, ...]}} ({error!r}).'
        ) from error
    if "://" not in audio:
        audio = str(path.parent / audio)
    return KnownWords(audio, row.get("language"), words, times)


@dataclass(frozen=True)
class DecoderInput:
    """An encoded utterance with known words, and the decoder's input: a prefix and the tokens of the words."""

    known: KnownWords
    samples: Samples
    encoded: Any
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    words: tuple[WordTokens, ...]


def feed(
    model: WhisperModel, engine: EncoderEngine, utterances: Iterable[KnownWords], *, skipped: Notify
) -> Iterator[DecoderInput]:
    """Encode utterances one by one for teacher forcing with their true words, without timestamps.

    An utterance that is longer than the model's window, or whose words the tokenizer does not reproduce, is skipped and
    reported to `skipped`.
    """
    for one in utterances:
        with open_audio(one.audio) as source:
            samples = source.read(0, model.window_samples + 1)
        found = _feed(model, engine, one, samples)
        if isinstance(found, DecoderInput):
            yield found
        else:
            skipped(f"{public_name(one.audio)}: left out, {found}")


def score_heads(model: WhisperModel, engine: DecoderEngine, fed: Iterable[DecoderInput]) -> dict[Head, float]:
    """The share of each head's attention that lies within the current word, averaged over all words.

    Attention is cut to the audio without padding. Raises `OptionError` if there is no utterance.
    """
    config = model.module.config
    heads = [(layer, head) for layer in range(config.decoder_layers) for head in range(config.decoder_attention_heads)]
    total, count = np.zeros(len(heads)), 0
    for one in fed:
        found = _shares(engine, one, heads)
        total += found.sum(1)
        count += found.shape[1]
    if not count:
        raise OptionError("no utterance could be used to find alignment heads: see the skipped ones")
    return dict(zip(heads, (total / count).tolist(), strict=True))


def measure_lag(model: WhisperModel, engine: Engine, fed: Iterable[DecoderInput], heads: Sequence[Head]) -> float:
    """The seconds by which these heads attend after the onset of a word.

    The value from -0.1 to 0.24 s, in steps of 0.02, with the smallest mean error of word starts, each clipped to 0.3 s.
    """
    errors = dict.fromkeys(LAGS, 0.0)
    for one in fed:
        spoken = [DecodedWindow(one.prefix, one.tokens, (), one.samples)]
        for lag in LAGS:
            (found,) = word_times(engine, one.encoded, spoken, model.vocabulary, heads, lag)
            pairs = zip(found, one.known.times, strict=True)
            errors[lag] += sum(min(abs(word.start - start), _FAR) for word, (start, _) in pairs)
    return min(LAGS, key=lambda lag: (errors[lag], abs(lag)))


def choose_heads(scores: dict[Head, float]) -> list[Head]:
    """The heads within 80 % of the best one's score, best first, 10 at most."""
    ranked = sorted(scores, key=lambda head: (-scores[head], head))
    return [head for head in ranked[:MOST_HEADS] if scores[head] >= NEAR_BEST * scores[ranked[0]]]


def _feed(model: WhisperModel, engine: EncoderEngine, one: KnownWords, samples: Samples) -> DecoderInput | str:
    """The decoder input of one utterance, or the reason why it cannot be used."""
    if len(samples) > model.window_samples:
        return "longer than the model's window"
    if one.times and one.times[-1][1] > len(samples) / SAMPLE_RATE + 0.1:
        return "its last word ends after the audio"
    vocabulary: Any = model.vocabulary
    tokens = vocabulary.tokenizer(" " + " ".join(one.words), add_special_tokens=False)["input_ids"]
    words = split_words(vocabulary, tokens)
    if not words or [word.text.strip() for word in words] != list(one.words):
        return "the tokenizer does not reproduce its words"
    language = resolve_language(one.language or next(iter(vocabulary.languages), None), vocabulary)
    options = DecodingOptions(timestamps=False)
    prefix, _ = build_prefix(vocabulary, options, language=language, max_length=model.max_length)
    if len(prefix) + len(tokens) > model.max_length:
        return "its words exceed the model's maximum number of tokens"
    wave = np.pad(samples, (0, model.padded(len(samples)) - len(samples)))
    features = log_mel(engine.place(wave[None]), model.n_mels)
    return DecoderInput(one, samples, engine.encode(features), tuple(prefix), tuple(tokens), tuple(words))


def _shares(engine: DecoderEngine, one: DecoderInput, heads: Sequence[Head]) -> NDArray[np.float64]:
    """The shares [heads, words] of one utterance."""
    found = engine.align(one.encoded, np.array([[*one.prefix, *one.tokens]]), heads)[0]
    positions = max(1, math.ceil(len(one.samples) / SAMPLES_PER_POSITION))
    looked = to_numpy(found).astype(np.float64)[..., :positions]
    looked = looked / looked.sum(-1, keepdims=True).clip(1e-9)  # [H, L, P]
    rate = SAMPLE_RATE / SAMPLES_PER_POSITION
    shares = []
    for word, (start, end) in zip(one.words, one.known.times, strict=True):
        rows = [len(one.prefix) + place - 1 for place in word.indices]
        shares.append(looked[:, rows, math.floor(start * rate) : math.ceil(end * rate)].sum(-1).mean(1))
    return np.stack(shares, 1)
