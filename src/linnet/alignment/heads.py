"""Which heads of a model's decoder look at the word being written: found on utterances whose word times are known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.alignment.aligner import Spoken, word_times
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
_FAR = 0.3  # seconds: a word that is further off is lost, not late
NEAR_BEST = 0.8  # heads that score at least this share of the best one's score are taken


@dataclass(frozen=True)
class KnownWords:
    """An utterance with its words and the seconds (start, end) of each."""

    audio: str
    language: str | None
    words: tuple[str, ...]
    times: tuple[tuple[float, float], ...]


def read_known_words(path: Path) -> Iterator[KnownWords]:
    """Utterances of a JSONL manifest: `audio`, `language` if wanted, `words`: [{"word", "start", "end"}].

    A relative `audio` is relative to the manifest. Raises `LinnetError` that names the line.
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
class Fed:
    """An utterance with known words, encoded, and what the decoder is fed: a prefix and the words' own tokens."""

    known: KnownWords
    samples: Samples
    encoded: Any
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    words: tuple[WordTokens, ...]


def feed(
    model: WhisperModel, engine: EncoderEngine, utterances: Iterable[KnownWords], *, skipped: Notify
) -> Iterator[Fed]:
    """Encode utterances one by one, to be fed with their true words (teacher forcing), without timestamps.

    An utterance longer than the model's window, or whose words do not come back from the tokenizer one by one, is left
    out and told to `skipped`.
    """
    for one in utterances:
        with open_audio(one.audio) as source:
            samples = source.window(0, model.window_samples + 1)
        found = _feed(model, engine, one, samples)
        if isinstance(found, Fed):
            yield found
        else:
            skipped(f"{public_name(one.audio)}: left out, {found}")


def score_heads(model: WhisperModel, engine: DecoderEngine, fed: Iterable[Fed]) -> dict[Head, float]:
    """For every head the share of its attention that lies within the word being written, the mean over all words.

    Attention is cut to the true sound. Raises `OptionError` where there is no utterance.
    """
    config = model.module.config
    heads = [(layer, head) for layer in range(config.decoder_layers) for head in range(config.decoder_attention_heads)]
    total, count = np.zeros(len(heads)), 0
    for one in fed:
        found = _shares(engine, one, heads)
        total += found.sum(1)
        count += found.shape[1]
    if not count:
        raise OptionError("no utterance could be used to find alignment heads: see what was left out")
    return dict(zip(heads, (total / count).tolist(), strict=True))


def measure_lag(model: WhisperModel, engine: Engine, fed: Iterable[Fed], heads: Sequence[Head]) -> float:
    """Seconds by which these heads look behind the onset of a word: those with which starts come nearest to the known.

    Of -0.1 to 0.24 s in steps of 0.02 the one with the least mean error of starts, each counted up to 0.3 s.
    """
    errors = dict.fromkeys(LAGS, 0.0)
    for one in fed:
        spoken = [Spoken(one.prefix, one.tokens, (), one.samples)]
        for lag in LAGS:
            (found,) = word_times(engine, one.encoded, spoken, model.vocabulary, heads, lag)
            pairs = zip(found, one.known.times, strict=True)
            errors[lag] += sum(min(abs(word.start - start), _FAR) for word, (start, _) in pairs)
    return min(LAGS, key=lambda lag: (errors[lag], abs(lag)))


def choose_heads(scores: dict[Head, float]) -> list[Head]:
    """The heads within 80 % of the best one's score, best first, 10 at most."""
    ranked = sorted(scores, key=lambda head: (-scores[head], head))
    return [head for head in ranked[:MOST_HEADS] if scores[head] >= NEAR_BEST * scores[ranked[0]]]


def _feed(model: WhisperModel, engine: EncoderEngine, one: KnownWords, samples: Samples) -> Fed | str:
    """One utterance, or the reason why it cannot be used."""
    if len(samples) > model.window_samples:
        return "longer than the model's window"
    if one.times and one.times[-1][1] > len(samples) / SAMPLE_RATE + 0.1:
        return "its last word ends after the sound"
    vocabulary: Any = model.vocabulary
    tokens = vocabulary.tokenizer(" " + " ".join(one.words), add_special_tokens=False)["input_ids"]
    words = split_words(vocabulary, tokens)
    if not words or [word.text.strip() for word in words] != list(one.words):
        return "its words are not the tokenizer's"
    language = resolve_language(one.language or next(iter(vocabulary.languages), None), vocabulary)
    options = DecodingOptions(timestamps=False)
    prefix, _ = build_prefix(vocabulary, options, language=language, max_length=model.max_length)
    if len(prefix) + len(tokens) > model.max_length:
        return "more words than the model's tokens hold"
    wave = np.pad(samples, (0, model.padded(len(samples)) - len(samples)))
    features = log_mel(engine.place(wave[None]), model.n_mels)
    return Fed(one, samples, engine.encode(features), tuple(prefix), tuple(tokens), tuple(words))


def _shares(engine: DecoderEngine, one: Fed, heads: Sequence[Head]) -> NDArray[np.float64]:
    """The shares [heads, words] of one utterance."""
    found = engine.align(one.encoded, np.array([[*one.prefix, *one.tokens]]), heads)[0]
    positions = max(1, math.ceil(len(one.samples) / SAMPLES_PER_POSITION))
    looked = to_numpy(found).astype(np.float64)[..., :positions]
    looked = looked / looked.sum(-1, keepdims=True).clip(1e-9)  # [H, L, P]
    rate = SAMPLE_RATE / SAMPLES_PER_POSITION
    shares = []
    for word, (start, end) in zip(one.words, one.known.times, strict=True):
        rows = [len(one.prefix) + place - 1 for place in word.places]
        shares.append(looked[:, rows, math.floor(start * rate) : math.ceil(end * rate)].sum(-1).mean(1))
    return np.stack(shares, 1)
