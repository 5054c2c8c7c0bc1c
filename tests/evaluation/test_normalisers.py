"""Normalisers are transformers' own, chosen by language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from linnet.errors import OptionError
from linnet.evaluation.normalisers import Normalizers, Spelling, find_spelling

SPELLING = Spelling({"colour": "color"}, "a model")
SENTENCES = [
    "Mr. Smith's colour, isn't it?",
    "three one four",
    "I have $20 million and [laughter] (coughs) two hundred and five cats -- uh, 3,000 dogs.",
    "Où est-ce que c'est ? Größe: 12 €",
    "नमस्ते दुनिया",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_they_equal_transformers_own(text: str) -> None:
    english, basic = EnglishTextNormalizer({"colour": "color"}), BasicTextNormalizer()
    assert Normalizers("english", SPELLING).normalize(text, "de") == english(text).strip()
    assert Normalizers("basic").normalize(text, "en") == basic(text).strip()
    assert Normalizers("auto", SPELLING).normalize(text, "en") == english(text).strip()
    assert Normalizers("auto", SPELLING).normalize(text, "de") == basic(text).strip()
    assert Normalizers("none").normalize(f" {text}\n", "en") == text


@settings(max_examples=30)
@given(st.text())
def test_any_text_normalises(text: str) -> None:
    for choice in ("english", "basic", "none"):
        found = Normalizers(choice).normalize(text, None)
        assert found == found.strip()


def test_digits_spoken_one_by_one_are_one_english_word() -> None:
    """Why the help says: for digit strings choose basic."""
    assert Normalizers("english").normalize("three one four", "en") == "314"
    assert Normalizers("basic").normalize("three one four", "en") == "three one four"


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *((code, "english") for code in ("en", "EN", "en-US", "en_GB", "English")),
        *((code, "basic") for code in ("de", "enm", None, "")),
    ],
)
def test_auto_goes_by_the_language(language: str | None, name: str) -> None:
    assert Normalizers("auto").name(language) == name


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(OptionError, match="normalizer 'french' is unknown: use auto, english, basic, none"):
        Normalizers("french")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    return tmp_path / "model"


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def test_the_spelling_comes_with_the_model(folder: Path, no_cache: None) -> None:
    (folder / "normalizer.json").write_text(json.dumps({"colour": "color"}))
    found = find_spelling(str(folder))
    assert found == Spelling({"colour": "color"}, str(folder))
    assert found.digest is not None
    assert len(found.digest) == 8
    assert Normalizers("auto", found).normalize("Colour", "en") == "color"


@pytest.mark.parametrize("content", [None, "{ torn", "[1]"])
def test_a_model_may_lack_it(folder: Path, no_cache: None, content: str | None) -> None:
    if content is not None:
        (folder / "normalizer.json").write_text(content)
    found = find_spelling(str(folder))
    assert (found.origin, found.digest, dict(found.words)) == (None, None, {})
    assert Normalizers("auto", found).normalize("Colour", "en") == "colour"


def test_a_model_that_is_nowhere_has_none(no_cache: None) -> None:
    assert find_spelling("fake").origin is None
