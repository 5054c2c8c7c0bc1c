"""What a model can be asked for, and what it answers to the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from linnet.decoding.decoder import Decoder
from linnet.decoding.language import resolve_language
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix, check_options
from linnet.engines.torch import TorchEngine
from linnet.errors import OptionError
from linnet.models.vocabulary import WhisperVocabulary
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.tiny_whispers import random_features, save_whisper


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    return load_whisper(save_whisper(tmp_path_factory.mktemp("m"), seed=3), name="m", device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def english(model: WhisperModel) -> WhisperVocabulary:
    return replace(model.vocabulary, languages={}, tasks={})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("de", "de"), ("German", "de"), ("<|fr|>", "fr"), ("castilian", "es"), (" italian ", "it"), (None, None)),
        *(("en-US", "en"), ("de_AT", "de"), ("deu", "de"), ("fr-Latn-CA", "fr")),
    ],
)
def test_languages_by_code_and_name(model: WhisperModel, name: str | None, code: str | None) -> None:
    assert resolve_language(name, model.vocabulary) == code


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("germn", "did you mean german?"),
        ("japanese", "unknown to this model. It knows"),
        ("qqqq", "language 'qqqq' is unknown to this model. It knows"),
        ("italain", "italian"),
        ("xx", ""),
    ],
)
def test_an_unknown_language_names_the_known_ones(model: WhisperModel, name: str, guess: str) -> None:
    with pytest.raises(OptionError, match=r"It knows de, en, es, fr, it") as caught:
        check_options(DecodingOptions(language=name), model.vocabulary)
    assert guess in str(caught.value)
    assert repr(name) in str(caught.value)


def test_an_english_only_model(english: WhisperVocabulary) -> None:
    for name in (None, "en", "English", "en-GB"):
        assert resolve_language(name, english) == "en"
    with pytest.raises(OptionError, match="knows English only, not 'de': choose a multilingual model"):
        check_options(DecodingOptions(language="de"), english)
    with pytest.raises(OptionError, match="cannot translate: choose a multilingual model"):
        check_options(DecodingOptions(task="translate"), english)
    assert build_prefix(english, DecodingOptions(timestamps=False), language="en", max_length=64)[0] == [
        english.start,
        english.no_timestamps,
    ]


def test_a_model_that_was_not_trained_to_translate(model: WhisperModel) -> None:
    vocabulary = replace(model.vocabulary, tasks={"transcribe": model.vocabulary.tasks["transcribe"]})
    with pytest.raises(OptionError, match="cannot translate: choose a model that was trained to translate"):
        check_options(DecodingOptions(task="translate"), vocabulary)


def test_prompts(model: WhisperModel) -> None:
    vocabulary = model.vocabulary
    tokens = vocabulary.prompt("  one two ")
    assert vocabulary.text(tokens) == " one two"
    assert vocabulary.prompt("  ") == ()
    prefix, start = build_prefix(vocabulary, DecodingOptions(), language="de", prompt=tokens, max_length=64)
    assert prefix[: start + 1] == [vocabulary.start_of_previous, *tokens, vocabulary.start]
    with pytest.raises(OptionError, match=r"contains the special token <\|nospeech\|>"):
        check_options(DecodingOptions(prompt="one <|nospeech|>"), vocabulary)
    with pytest.raises(OptionError, match=r"no <\|startofprev\|> token"):
        check_options(DecodingOptions(prompt="one"), replace(vocabulary, start_of_previous=None))


def test_tokens_to_suppress_must_be_the_models(model: WhisperModel) -> None:
    for options in (DecodingOptions(suppress_tokens=(9999,)), DecodingOptions(begin_suppress_tokens=(-1,))):
        with pytest.raises(OptionError, match="not in the vocabulary: use 0 to"):
            check_options(options, model.vocabulary)


def test_text_keeps_words_and_drops_the_rest(model: WhisperModel) -> None:
    vocabulary = model.vocabulary
    begin, words = vocabulary.timestamp_begin, vocabulary.prompt("seven eight")
    tokens = [begin, *words, begin + 10, begin + 12, vocabulary.end, vocabulary.start]
    assert vocabulary.text(tokens) == " seven eight"
    assert vocabulary.text([]) == vocabulary.text([begin]) == vocabulary.text([vocabulary.end]) == ""
    assert vocabulary.text(vocabulary.prompt("Ärger, naïve? 日本")) == " Ärger, naïve? 日本"


def test_windows_need_their_languages_and_prompts(model: WhisperModel) -> None:
    engine = TorchEngine(model)
    decoder = Decoder(engine, model.vocabulary, model.max_length)
    encoded = engine.encode(random_features(2))
    options = DecodingOptions(temperatures=(0.0,), max_new_tokens=3)
    with pytest.raises(ValueError, match="2 windows need as many languages, got 1"):
        decoder.decode(encoded, options, languages=["de"])
    with pytest.raises(ValueError, match="2 windows need as many prompts, all of one length"):
        decoder.decode(encoded, options, prompts=[(5,), (5, 6)])
    results = decoder.decode(encoded, options, languages=["german", None])
    heard = decoder.detect_language(encoded)[1]
    assert [r.language for r in results] == ["de", max(heard, key=heard.__getitem__)]
    with pytest.raises(OptionError, match="klingon"):
        decoder.decode(encoded, options, languages=["klingon", None])
    english = Decoder(engine, replace(model.vocabulary, languages={}, tasks={}), model.max_length)
    assert english.detect_language(encoded) == [{"en": 1.0}] * 2


def test_a_prompt_must_leave_room(model: WhisperModel) -> None:
    engine = TorchEngine(model)
    encoded = engine.encode(random_features(1))
    options = DecodingOptions(language="de", prompt="one two three", temperatures=(0.0,))
    assert Decoder(engine, model.vocabulary, max_length=12).decode(encoded, options)
    with pytest.raises(OptionError, match="leaves no room in the model's 5 tokens: shorten it"):
        Decoder(engine, model.vocabulary, max_length=5).decode(encoded, options)


def test_habits_mean_what_they_mean_elsewhere() -> None:
    assert DecodingOptions(language="auto").language is None
    assert DecodingOptions(temperatures=0.0).temperatures == (0.0,)  # type: ignore[arg-type]
    listed = DecodingOptions(temperatures=[0.0, 0.2], suppress_tokens=[1, 2])  # type: ignore[arg-type]
    assert (listed.temperatures, listed.suppress_tokens) == ((0.0, 0.2), (1, 2))
    hash(listed)


@pytest.mark.parametrize(
    ("hotwords", "prompt", "context"),
    [
        (None, None, None),
        (None, " Dear listeners, ", "Dear listeners,"),
        ("Linnet,  OpenVINO,", None, "Linnet, OpenVINO."),
        ("Linnet", "Dear listeners,", "Linnet. Dear listeners,"),
        (" , ", "", None),
    ],
)
def test_hotwords_come_before_the_prompt(hotwords: str | None, prompt: str | None, context: str | None) -> None:
    assert DecodingOptions(hotwords=hotwords, prompt=prompt).context == context


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam_size": "5"}, "beam_size must be a whole number, got '5'"),
        ({"beam_size": 2.0}, "beam_size must be a whole number"),
        ({"temperatures": "0"}, "temperatures must be one or more numbers"),
        ({"temperatures": None}, "temperatures must be one or more numbers"),
        ({"temperatures": (0.0, float("nan"))}, "temperatures must be one or more numbers"),
        ({"max_new_tokens": "x"}, "max_new_tokens must be a whole number or None"),
        ({"timestamps": "no"}, "timestamps must be True or False, got 'no'"),
        ({"language": ["en"]}, "language must be a text or None"),
        ({"hotwords": ["one"]}, "hotwords must be a text or None"),
        ({"no_speech_threshold": "x"}, "no_speech_threshold must be a number or None"),
        ({"length_penalty": float("nan")}, "length_penalty must be a number"),
    ],
)
def test_an_option_of_a_wrong_type_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        DecodingOptions(**changes)


def test_numbers_of_numpy_are_numbers() -> None:
    assert DecodingOptions(temperatures=np.float32(0.0)).temperatures == (0.0,)  # type: ignore[arg-type]
    assert DecodingOptions(beam_size=np.int64(2), language="").language is None
