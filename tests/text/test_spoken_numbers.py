"""Numbers digit by digit: however they are written, they are compared as the same words."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from linnet.scoring.corpus import Pair, Scorer
from linnet.scoring.validation import ValidationScore
from linnet.text.english import EnglishNormalizer
from linnet.text.normalizers import Normalizers
from linnet.text.spoken_numbers import DigitWords

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
SPELLING = {"colour": "color"}
FAST = EnglishNormalizer(SPELLING, digits=True)
DIGITS = st.lists(st.integers(0, 9), min_size=1, max_size=9)
SPEECH = "the cat's colour, Mr. Smith said: uh, isn't it grey and so; they've been there"
WORDS = SPEECH.split()


def in_full(number: int) -> str:
    """A number below a million as it is read."""
    parts = []
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            parts += [in_full(number // size), name]
            number %= size
    if number >= 20:
        parts.append(f"{TENS[number // 10]} {NAMES[number % 10] if number % 10 else ''}".strip())
    elif number or not parts:
        parts.append(TEENS[number - 10] if number >= 10 else NAMES[number])
    return " ".join(parts)


def as_words(digits: list[int]) -> str:
    """Whisper writes the word for a 1 that stands alone."""
    return " ".join("one" if digit == 1 else str(digit) for digit in digits)


@given(DIGITS, st.data())
def test_a_digit_string_is_its_digits_however_it_is_written(digits: list[int], data: st.DataObject) -> None:
    joined = "".join(map(str, digits))
    spelled = [NAMES[digit] for digit in digits]
    mixed = [data.draw(st.sampled_from([str(digit), NAMES[digit]])) for digit in digits]
    oh = ["oh" if word == "zero" else word for word in spelled]
    cut = data.draw(st.integers(0, len(joined)))
    for text in (joined, " ".join(map(str, digits)), " ".join(spelled), " ".join(mixed), " ".join(oh)):
        assert FAST(text) == as_words(digits), text
    assert FAST(f"{joined[:cut]}-{joined[cut:]}") == as_words(digits)
    assert FAST(", ".join(map(str, digits)) + ".") == as_words(digits)


@given(st.integers(0, 999_999))
def test_a_number_read_in_full_is_its_numeral(number: int) -> None:
    expected = as_words([int(digit) for digit in str(number)])
    assert FAST(in_full(number)) == FAST(str(number)) == FAST(f"{number:,}") == expected


@pytest.mark.parametrize(
    ("written", "spoken", "words"),
    [
        ("007", "double oh seven", "0 0 7"),
        ("10-4", "ten four", "one 0 4"),
        ("205", "2 hundred and 5", "2 0 5"),
        ("20 thousand 5 hundred", "twenty thousand five hundred", "2 0 5 0 0"),
        ("in 2019 20 million", "in 2019 20000000", "in 2 0 one 9 2 0 0 0 0 0 0 0"),
        ("$20.35", "twenty dollars and thirty five cents", "$2 0 .3 5"),
        ("1.5 million", "one point five million", "one 5 0 0 0 0 0"),
        ("11.5", "eleven point five", "one one .5"),
        ("the 21st", "the twenty first", "the 2 1st"),
        ("35%", "3 5 percent", "3 5%"),
        ("3:45", "three forty five", "3 4 5"),
        ("1 of them", "one of them", "one of them"),
    ],
)
def test_written_and_spoken_forms_are_equal(written: str, spoken: str, words: str) -> None:
    assert FAST(written) == FAST(spoken) == words


@settings(max_examples=200)
@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_text_without_numbers_is_as_english_has_it(words: list[str]) -> None:
    text = " ".join(words)
    assert FAST(text) == EnglishTextNormalizer(SPELLING)(text).strip()


def test_it_is_english_taken_apart_where_numbers_do_not_touch() -> None:
    rng = random.Random(5)
    english = EnglishNormalizer(SPELLING)
    spoken = ["twenty one", "314", "$5", "first", "three hundred and five", "2.5", "12%", "1980s"]
    for _ in range(300):
        text = " but ".join(rng.choices(spoken, k=3))
        whole, apart = (re.sub(r"\bone\b", "1", normalize(text)) for normalize in (english, FAST))
        assert apart.replace(" ", "") == whole.replace(" ", "")


def test_what_is_kept_of_words_and_stretches_is_what_the_whole_text_gives() -> None:
    """The slow way, without the fast one's memory, is the oracle."""
    rng = random.Random(7)
    slow = EnglishTextNormalizer(SPELLING)
    slow.standardize_numbers = DigitWords()
    parts = ["3", "five", "20", "million", "and", "oh", "st", "$5", "2.5", "point", "per", "cent", "a", "half", *WORDS]
    for _ in range(1500):
        text = " ".join(rng.choices(parts, k=rng.randint(1, 8)))
        assert FAST(text) == slow(text).strip(), text


@pytest.mark.parametrize("choice", ["english", "digits"])
@pytest.mark.parametrize("text", ["9" * 5000, "$" + "9" * 9001, "4." + "1" * 5000, "5" * 5000 + " million"])
def test_a_numeral_of_thousands_of_digits_is_a_text_like_any_other(choice: str, text: str) -> None:
    """Whisper's own ends with an error, and took the whole evaluation with it."""
    found = Normalizers(choice).normalize(f"so {text} it is", "en")
    assert found.startswith("so ")
    assert found.endswith(" it is")


def test_one_wrong_digit_is_one_error() -> None:
    pairs = [Pair("three one four one five", "3 1 4 7 5", "en"), Pair("two oh two", "202", "en")]
    scored = Scorer(normalizers=Normalizers("digits")).score(pairs)
    assert scored.words.tolist() == [[5, 1, 0, 0], [3, 0, 0, 0]]
    assert scored.score.label.startswith("plain, digits@")


def test_a_validation_over_100_per_cent_says_what_it_is_by_digits() -> None:
    told: list[str] = []
    said, heard = ["three one four one", "five five"], ["3 1 4 1", "5 6"]
    rate = ValidationScore("auto", told.append)(said, heard, ["en", "en"])
    assert rate == pytest.approx(6 / 2)
    assert "300%" in told[0]
    assert "normalizer: digits" in told[0]
    assert "16.7%" in told[0]
    assert ValidationScore("digits", told.append)(said, heard, ["en", "en"]) == pytest.approx(1 / 6)
    assert len(told) == 1


def test_a_validation_that_is_bad_by_digits_too_is_told_without_advice() -> None:
    told: list[str] = []
    assert ValidationScore("auto", told.append)(["a cat"], ["no dogs at all"], ["en"]) == 2.0
    assert "digits" not in told[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("3.14", "314"), ("3.1", "31"), ("12.1", "121"), ("1.15", "115"), ("one point one", "eleven"), ("0.1", "01")),
        *(("$1.10", "$110"), ("2.5", "25")),
    ],
)
def test_a_decimal_point_is_heard(one: str, other: str) -> None:
    digits = Normalizers("digits").normalize
    assert digits(one, "en") != digits(other, "en")


@pytest.mark.parametrize(("written", "spoken"), [("3.14", "three point one four"), ("0.1", "zero point one")])
def test_decimals_are_equal_however_they_are_said(written: str, spoken: str) -> None:
    digits = Normalizers("digits").normalize
    assert digits(written, "en") == digits(spoken, "en")
