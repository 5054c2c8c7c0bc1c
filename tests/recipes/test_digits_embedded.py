"""The shipped folder: small, ordinary, and able to hear."""

import warnings

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer, WhisperForConditionalGeneration, pipeline

from recipes.digits.bank import Voices, load_fsdd
from recipes.digits.tokens import Vocabulary
from recipes.digits.validate import Case, connected, nothing, timed_phrases, transcripts, word_error_rate
from recipes.digits.words import DIGITS
from tests.support.places import DIGITS as FOLDER
from tests.support.places import SHARED

FSDD = SHARED / "fsdd"
real = pytest.mark.skipif(not FSDD.is_dir(), reason="needs ../shared/data/fsdd (DATA.md says where from)")


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    return WhisperForConditionalGeneration.from_pretrained(FOLDER).eval()


def test_the_folder_is_at_most_8_megabytes_and_has_its_card() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {"README.md", "config.json", "generation_config.json", "model.safetensors"} <= {f.name for f in files}
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl")]


def test_weights_are_float32(model: WhisperForConditionalGeneration) -> None:
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.max_source_positions == 500
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_the_tokenizer_takes_any_text_and_knows_its_words() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    vocabulary = Vocabulary.build()
    assert len(tokenizer) == len(vocabulary)
    for text in (" three one four", " fünf cinque zéro", "Ünïcödé 日本\n"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
    words = [word for words in DIGITS.values() for word in words]
    assert all(tokenizer(" " + word, add_special_tokens=False).input_ids == [vocabulary.word(word)] for word in words)


def test_the_processor_pads_to_ten_seconds() -> None:
    processor = AutoProcessor.from_pretrained(FOLDER)
    features = processor(np.zeros(1600, np.float32), sampling_rate=16_000, return_tensors="pt").input_features
    assert features.shape == (1, 80, 1000)


def test_generation_settings_are_whispers_own(model: WhisperForConditionalGeneration) -> None:
    vocabulary, config = Vocabulary.build(), model.generation_config
    assert config.is_multilingual
    assert config.lang_to_id == {f"<|{name}|>": vocabulary.special(name) for name in DIGITS}
    assert config.no_timestamps_token_id == vocabulary.special("notimestamps")
    assert vocabulary.special("endoftext") not in (config.begin_suppress_tokens or [])
    assert config.max_initial_timestamp_index == 500


@pytest.mark.parametrize("timestamps", [False, True])
def test_stock_pipeline_hears_nothing_in_silence(timestamps: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own advice on its arguments
        recognizer = pipeline("automatic-speech-recognition", str(FOLDER), device="cpu")
        result = recognizer(np.zeros(32_000, np.float32), return_timestamps=timestamps)
    assert result["text"].strip() == ""


@pytest.mark.filterwarnings("ignore")
def test_nothing_stays_nothing(model: WhisperForConditionalGeneration) -> None:
    heard = transcripts(model, nothing(np.random.default_rng(1), per_level=6))
    assert sum(bool(words) for _, words in heard) <= 1


@real
@pytest.mark.filterwarnings("ignore")
def test_it_hears_the_test_speaker(model: WhisperForConditionalGeneration) -> None:
    voices: Voices = {}
    load_fsdd(FSDD, ("theo",), voices, even=False)
    cases = connected(voices["en"]["real"][0], 16, (5, 5), np.random.default_rng(7))
    heard = transcripts(model, cases, detect=True)
    # A guard against broken weights, not the bar: benchmarks/digits.py measures that, on 200 strings.
    assert word_error_rate(cases, heard) <= 0.04
    assert all(language == "en" for language, _ in heard)


@real
@pytest.mark.filterwarnings("ignore")
def test_times_lie_around_the_phrase(model: WhisperForConditionalGeneration) -> None:
    voices: Voices = {}
    load_fsdd(FSDD, ("theo",), voices, even=False)
    cases: list[Case] = connected(voices["en"]["real"][0], 8, (3, 5), np.random.default_rng(8))
    for case, phrases in zip(cases, timed_phrases(model, cases), strict=True):
        assert phrases
        assert phrases[0][0] == pytest.approx(case.phrases[0][0], abs=0.4)
        assert phrases[-1][1] == pytest.approx(case.phrases[-1][1], abs=0.4)
