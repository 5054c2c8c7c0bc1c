import hashlib

import pytest

from linnet.curation.words import read_text, word_hash


@pytest.mark.parametrize(
    ("text", "language", "units"),
    [
        ("Don’t STOP — now!", "en", ("don't", "stop", "now")),
        ("'Quoted' words", "en", ("quoted", "words")),
        ("Oʻzbekiston", "uz", ("o'zbekiston",)),
        ("नमस्ते, दुनिया!", "hi", ("नमस्ते", "दुनिया")),
        ("今日は、ok です。", "ja", ("今", "日", "は", "ok", "で", "す")),
        ("スーパー", "ja", ("ス", "ー", "パ", "ー")),
        ("ที่นี่", "th", ("ที่", "นี่")),
        ("မင်္ဂလာ 23", "my", ("မ", "င်္ဂ", "လာ", "23")),
        ("བཀྲ་ཤིས", "bo", ("བཀྲ", "ཤིས")),
        ("مَرْحَبًا", "ar", ("مَرْحَبًا",)),
        ("안녕 하세요", "ko", ("안녕", "하세요")),
        ("", None, ()),
        ("… !?", None, ()),
    ],
)
def test_units_are_words_or_the_clusters_of_a_script_without_spaces(text, language, units):
    assert "".join(read_text(text, language).units) == "".join(units)
    if language != "my":  # where a cluster ends inside a Burmese stack depends on the Unicode version
        assert read_text(text, language).units == units


def test_marks_are_kept_and_not_counted():
    hindi = read_text("नमस्ते 3")

    assert hindi.words == ("नमस्ते", "3")
    assert hindi.characters == 5  # न म स त and 3
    assert (hindi.script, hindi.share) == ("Deva", 1.0)


def test_the_script_of_most_letters_and_its_share():
    assert (read_text("привет ok").script, read_text("привет ok").share) == ("Cyrl", 0.75)
    assert read_text("今日は").script == "Jpan"
    assert read_text("今日").script == "Hani"
    assert read_text("3 5 7").script == "Zyyy"


def test_a_words_hash_is_four_bytes_of_blake2b():
    word = "straße"
    expected = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little")

    assert word_hash(word) == expected
    assert read_text("Straße straße").hashes.tolist() == [expected, expected]


def test_a_transcript_of_ten_thousand_words():
    assert len(read_text("word " * 10_000).hashes) == 10_000
