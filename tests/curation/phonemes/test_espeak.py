import sys

import pytest

from linnet.curation.phonemes import espeak
from linnet.curation.phonemes.espeak import Espeak, EspeakProcess, voices

pytestmark = pytest.mark.skipif(not espeak.is_installed(), reason="the extra espeak is not installed")

# Answers with the word itself, and ends at "bang" as a library that crashes would.
ECHO = """
import json, os, sys
for line in sys.stdin:
    words = json.loads(line)["words"]
    if "bang" in words:
        os._exit(1)
    print(json.dumps({"phones": words}), flush=True)
"""


@pytest.fixture(scope="module")
def process():
    with EspeakProcess() as running:
        yield running


def test_phones_are_ipa_without_stress_and_numbers_are_spoken(process):
    words = Espeak(process, "en-us", "Latn")

    assert words.phones(["three", "3", "don't"]) == [("θ", "ɹ", "iː"), ("θ", "ɹ", "iː"), ("d", "oʊ", "n", "t")]


@pytest.mark.parametrize(
    ("voice", "script", "word", "expected"),
    [
        ("de", "Latn", "zwölf", ("ts", "v", "œ", "l", "f")),
        ("hi", "Deva", "नमस्ते", ("n", "ə", "m", "ʌ", "s", "t", "eː")),
        ("he", "Hebr", "שלום", ("ʃ", "a", "l", "o", "m")),
        ("cmn", "Hani", "你好", ("n", "i", "χ", "ɑu")),  # without its tones
        ("vi", "Latn", "tiếng", ("t̪", "iɛ", "ŋ")),
    ],
)
def test_words_of_many_scripts(process, voice, script, word, expected):
    assert Espeak(process, voice, script).phones([word]) == [expected]


@pytest.mark.parametrize(
    ("voice", "script", "word"), [("ja", "Jpan", "日本"), ("en-us", "Latn", "привет"), ("ky", "Cyrl", "مرحبا")]
)
def test_letters_that_it_would_only_name_are_unknown(process, voice, script, word):
    assert Espeak(process, voice, script).phones([word]) == [None]


def test_latin_words_are_read_in_english_where_the_script_is_another(process):
    assert Espeak(process, "hi", "Deva").phones(["ok"]) == [("əʊ", "k", "eɪ")]


def test_what_was_spoken_before_changes_nothing(process):
    first = process.ask("de", ["drei", "vier", "ok"])
    process.ask("ja", ["日本 ok"])
    process.ask("en-us", ["你好"])

    assert process.ask("de", ["ok", "vier", "drei"]) == first[::-1]


def test_every_voice_of_the_table_exists(process):
    silent = [voice for voice in sorted(set(voices().values())) if None in process.ask(voice, ["1"])]

    assert silent == []


def test_a_voice_that_is_missing_knows_no_word(process):
    assert process.ask("no-such-voice", ["a", "b"]) == [None, None]


def test_a_word_that_ends_the_process_is_the_only_one_lost():
    with EspeakProcess([sys.executable, "-c", ECHO]) as fragile:
        assert fragile.ask("en", ["a", "b", "bang", "c", "d"]) == ["a", "b", None, "c", "d"]
        assert fragile.ended == 1
        assert fragile.ask("en", ["e"]) == ["e"]


def test_a_region_with_its_own_voice_gets_it():
    table = voices()

    assert (table["en", "Latn"], table["en-gb", "Latn"], table["pt-br", "Latn"]) == ("en-us", "en", "pt-br")
    assert (table["sr", "Cyrl"], table["sr", "Latn"], table["zh", "Hani"]) == ("sr", "sr", "cmn")
