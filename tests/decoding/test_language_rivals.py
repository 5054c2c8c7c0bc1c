"""Unsure languages: which are tried, which one wins, and that sure ones cost nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from linnet.decoding.decoder import Decoder
from linnet.decoding.language import best_explained, rivals
from linnet.decoding.options import DecodingOptions
from linnet.decoding.result import DecodingResult
from linnet.engines.torch import TorchEngine
from linnet.models.whisper import load_whisper
from tests.support.tiny_whispers import random_features, save_whisper

SPANISH = DecodingResult((1,), "la casa", "es", -0.6, 0.0, 1.0, 0.0)
CATALAN = replace(SPANISH, text="la casta", language="ca", avg_logprob=-1.0)
LOOP = replace(SPANISH, text="ah " * 40, language="tr", avg_logprob=-0.1, compression_ratio=8.0)
EMPTY = replace(SPANISH, text=" ", language="nn", avg_logprob=-0.1)


@pytest.mark.parametrize(
    ("probabilities", "tried"),
    [
        ({"en": 0.8, "de": 0.2}, []),
        ({"en": 0.7, "de": 0.2, "fr": 0.1}, ["en", "de", "fr"]),
        ({"de": 0.2, "en": 0.3, "fr": 0.15, "it": 0.35}, ["it", "en", "de"]),
        ({"en": 0.79, "de": 0.02, "fr": 0.019}, []),
    ],
)
def test_only_unsure_languages_are_tried(probabilities: dict[str, float], tried: list[str]) -> None:
    assert rivals(probabilities) == tried


def test_the_likeliest_text_wins_unless_its_language_is_far_less_probable() -> None:
    assert best_explained([CATALAN, SPANISH], {"ca": 0.6, "es": 0.3}, 2.4) == "es"
    assert best_explained([CATALAN, SPANISH], {"ca": 0.7, "es": 0.01}, 2.4) == "ca"  # -1.036 beside -1.061


def test_loops_and_empty_texts_do_not_count() -> None:
    probabilities = {"es": 0.3, "tr": 0.3, "nn": 0.3}
    assert best_explained([LOOP, EMPTY, SPANISH], probabilities, 2.4) == "es"
    assert best_explained([LOOP, EMPTY, SPANISH], probabilities, None) == "tr"
    assert best_explained([LOOP, EMPTY], probabilities, 2.4) is None


def test_an_unsure_window_takes_the_language_that_separate_decoding_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_whisper(save_whisper(tmp_path, seed=5), name="t", device="cpu", dtype=torch.float32)
    engine = TorchEngine(model)
    decoder = Decoder(engine, model.vocabulary, max_length=model.max_length)
    encoded = engine.encode(random_features(1))
    options = DecodingOptions(max_new_tokens=8, compression_ratio_threshold=None)
    codes = list(model.vocabulary.languages)[:2]
    probabilities = dict.fromkeys(codes, 0.5)
    alone = [
        decoder.decode(encoded, replace(options, temperatures=(0.0,)), languages=[code])[0].avg_logprob
        for code in codes
    ]
    assert decoder.settle_language(encoded, probabilities, options) == codes[alone.index(max(alone))]

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a sure language was decoded")

    monkeypatch.setattr(Decoder, "decode", refuse)
    assert decoder.settle_language(encoded, {codes[0]: 0.1, codes[1]: 0.9}, options) == codes[1]
