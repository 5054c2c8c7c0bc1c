"""Normalizers are chosen by language, and their ids say what they do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from linnet.errors import OptionError
from linnet.models.spelling import find_spelling
from linnet.text import normalizers
from linnet.text.marks import keep_case, keep_marks
from linnet.text.normalizers import CHOICES, Normalizers, Spelling
from tests.support.hub_cache import add_to_cache, model_files

SPELLING = Spelling({"colour": "color"}, "a model")
SENTENCES = [
    "Mr. Smith's colour, isn't it?",
    "three one four",
    "I have $20 million and [laughter] (coughs) two hundred and five cats -- uh, 3,000 dogs.",
    "Où est-ce que c'est ? Größe: 12 €",
    "नमस्ते दुनिया",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_whispers_are_transformers_own(text: str) -> None:
    english, basic = EnglishTextNormalizer({"colour": "color"}), BasicTextNormalizer()
    assert Normalizers("english", SPELLING).normalize(text, "de") == english(text).strip()
    assert Normalizers("basic").normalize(text, "en") == basic(text).strip()
    assert Normalizers("auto", SPELLING).normalize(text, "en") == english(text).strip()


@pytest.mark.parametrize("text", SENTENCES)
def test_the_others_are_ours(text: str) -> None:
    assert Normalizers("auto", SPELLING).normalize(text, "de") == keep_marks(text, "de")
    assert Normalizers("unicode").normalize(text, "en") == keep_marks(text)
    assert Normalizers("cased").normalize(text, "en") == keep_case(text)
    assert Normalizers("none").normalize(f" {text}\n", "en") == text


def test_marks_go_by_the_language() -> None:
    assert [Normalizers().normalize("IŞIK", language) for language in ("tr", "tr-TR", "de")] == ["ışık", "ışık", "işik"]


@settings(max_examples=30)
@given(st.text())
def test_any_text_normalizes(text: str) -> None:
    for choice in CHOICES:
        found = Normalizers(choice).normalize(text, None)
        assert found == found.strip()


def test_digits_spoken_one_by_one_are_one_english_word() -> None:
    """Why the help says: for digit strings choose digits."""
    assert Normalizers("english").normalize("three one four", "en") == "314"
    assert Normalizers("unicode").normalize("three one four", "en") == "three one four"


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *((code, "english") for code in ("en", "EN", "en-US", "en_GB", "English")),
        *((code, "unicode") for code in ("de", "enm", None, "")),
    ],
)
def test_auto_goes_by_the_language(language: str | None, name: str) -> None:
    assert Normalizers("auto").name(language) == name
    assert Normalizers("auto").id(language) == Normalizers(name).id(None)


def test_an_id_is_the_name_and_a_hash_that_differs_for_each() -> None:
    ids = [Normalizers(choice).id(None) for choice in CHOICES if choice != "auto"]
    assert all(len(hash_) == 8 and int(hash_, 16) >= 0 for _, _, hash_ in (id_.partition("@") for id_ in ids))
    assert len({id_.partition("@")[2] for id_ in ids}) == len(ids)


def test_the_hash_follows_the_tables_and_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {choice: Normalizers(choice).id("en") for choice in CHOICES}
    assert Normalizers("english", SPELLING).id("en") != before["english"]
    assert Normalizers("basic", SPELLING).id("en") == before["basic"]
    monkeypatch.setattr(normalizers, "VERSION", 1000)
    monkeypatch.setattr(normalizers, "whisper_source", lambda: "class BasicTextNormalizer: ...")
    assert all(Normalizers(choice).id("en") != before[choice] for choice in CHOICES)


def test_the_digest_covers_all_that_a_choice_may_do() -> None:
    digests = [Normalizers(choice).digest for choice in CHOICES]
    assert len(set(digests)) == len(CHOICES)
    assert Normalizers("auto", SPELLING).digest != Normalizers("auto").digest


def test_what_marks_and_cased_do_is_pinned() -> None:
    """Where this fails on purpose, raise `marks.VERSION`: the numbers of before and after cannot be compared."""
    text = "“IŞIK”, l’été [x] (y) <z> a_b 12€ – नमस्ते। İo\u00ad\u200d? e\u0301…"
    assert normalizers.VERSION == 1
    assert keep_marks(text, "tr") == "ışık l été a b 12 नमस्ते io é"
    assert keep_case(text) == '" IŞIK " , l\'été [ x ] ( y ) < z > a _ b 12 € - नमस्ते । İo ? é . . .'


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(
        OptionError, match="normalizer 'french' is unknown: use auto, english, digits, basic, unicode, cased, none"
    ):
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


def test_damaged_models_of_the_cache_are_passed_over(tmp_path: Path, no_cache: None) -> None:
    index = {"model.safetensors.index.json": b'{"weight_map": {"a": "/dev/zero"}}', "config.json": b"{}"}
    add_to_cache(tmp_path / "cache", "openai/whisper-base", index)
    whole = model_files() | {"normalizer.json": b'{"colour": "color"}'}
    add_to_cache(tmp_path / "cache", "openai/whisper-small", whole)
    assert find_spelling("fake").origin == "openai/whisper-small"


def test_a_model_that_is_nowhere_has_none(no_cache: None) -> None:
    assert find_spelling("fake").origin is None
