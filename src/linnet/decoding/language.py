"""The language of a window, and names of languages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from linnet.decoding.logits import softmax
from linnet.decoding.result import DecodingResult
from linnet.engines.protocol import EncoderOutput, Engine
from linnet.errors import OptionError
from linnet.models.vocabulary import WhisperVocabulary
from linnet.settings import did_you_mean
from linnet.text.language_codes import base_language, canonical, same_language

SURE = 0.8  # a language at least this probable is accepted without further search
MOST_RIVALS = 3
LEAST_PROBABILITY = 0.03
LANGUAGE_WEIGHT = 0.1  # relative to the average log-probability; tuned on clips of 1 and 2 s (docs/lab/accuracy.md)


def resolve_language(name: str | None, vocabulary: WhisperVocabulary) -> str | None:
    """The model's code for a language named by code (de, de-AT, <|de|>) or in English (german); None stays None
    (detect).

    Script and region are ignored if the model does not distinguish them. For an English-only model the result is always
    `en`. Raises `OptionError` for a language that the model does not know.
    """
    if not vocabulary.languages:
        if name is None or name.lower() in ("en", "english") or _meant(name, ("en",)):
            return "en"
        raise OptionError(f"this model knows English only, not {name!r}: choose a multilingual model")
    if name is None:
        return None
    wanted = name.lower().strip().removeprefix("<|").removesuffix("|>")
    if wanted in vocabulary.languages:
        return wanted
    for code in (_codes().get(wanted), _meant(wanted, vocabulary.languages)):
        if code in vocabulary.languages:
            return code
    raise OptionError(_unknown(name, vocabulary))


def _meant(code: str, known: Iterable[str]) -> str | None:
    """The language that a BCP-47 code means, if necessary without its script and region."""
    try:
        return same_language(code, known) or same_language(base_language(canonical(code)), known)
    except OptionError:
        return None  # not a language code


def detect_language(engine: Engine, encoded: EncoderOutput, vocabulary: WhisperVocabulary) -> list[dict[str, float]]:
    """The probability of each of the model's languages, per window; they sum to 1.

    The softmax over the language tokens after <|startoftranscript|>. An English-only model yields {"en": 1.0}.
    """
    if not vocabulary.languages:
        return [{"en": 1.0}] * encoded.batch
    start = np.full((encoded.batch, 1), vocabulary.start)
    logits = engine.step(engine.start(encoded, max_length=1), start)
    codes = list(vocabulary.languages)
    probabilities = softmax(logits[:, [vocabulary.languages[code] for code in codes]]).tolist()
    return [dict(zip(codes, row, strict=True)) for row in probabilities]


def rivals(probabilities: Mapping[str, float]) -> list[str]:
    """The languages worth decoding in if detection is uncertain, most probable first; none if it is certain (a
    probability of 0.8 or more).

    At most 3 languages, each of at least 3 %.

    >>> rivals({"ca": 0.61, "es": 0.33, "gl": 0.03, "en": 0.02}), rivals({"de": 0.9, "en": 0.1})
    (['ca', 'es', 'gl'], [])
    """
    ranked = sorted(probabilities, key=lambda code: -probabilities[code])[:MOST_RIVALS]
    if probabilities[ranked[0]] >= SURE:
        return []
    found = [code for code in ranked if probabilities[code] >= LEAST_PROBABILITY]
    return found if len(found) > 1 else []


def best_explained(
    decoded: Sequence[DecodingResult], probabilities: Mapping[str, float], ratio: float | None
) -> str | None:
    """The language with the most probable text: the average log-probability of its tokens + 0.1 * log P(language).

    `decoded` holds the same window decoded in each candidate language. Texts that are empty, or whose compression ratio
    exceeds `ratio`, do not count; None if no text counts.
    """
    scores = {
        one.language: one.avg_logprob + LANGUAGE_WEIGHT * math.log(max(probabilities[one.language], 1e-9))
        for one in decoded
        if one.language and one.text.strip() and (ratio is None or one.compression_ratio <= ratio)
    }
    return max(scores, key=scores.__getitem__) if scores else None


def _unknown(name: str, vocabulary: WhisperVocabulary) -> str:
    names = {code: title for title, code in _codes().items()}
    known = {word for code in vocabulary.languages for word in (code, names.get(code, code))}
    hint = did_you_mean(name, {word: word for word in known})
    return f"language {name!r} is unknown to this model{hint}. It knows {', '.join(sorted(vocabulary.languages))}"


@lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    """English names of languages -> codes, as Transformers lists them."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    return dict(TO_LANGUAGE_CODE)
