"""Normalizers that keep marks, case and punctuation: by hand, in many scripts, and what must always hold."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linnet.text.marks import keep_case, keep_marks

UNPUNCTUATED = [
    "नमस्ते दुनिया",
    "สวัสดีครับ",
    "مَرْحَبًا بِكُمْ",
    "வணக்கம் உலகம்",
    "các bạn",
    "၁၂ မြန်မာ",
    "שָׁלוֹם",
    "größe øre",
    "日本語 です",
]


@pytest.mark.parametrize("text", UNPUNCTUATED)
def test_words_without_punctuation_stay_whole_in_every_script(text: str) -> None:
    assert keep_marks(text) == text
    assert keep_marks(unicodedata.normalize("NFD", text)) == unicodedata.normalize("NFC", text)
    assert keep_marks(f"«{text}»!") == text


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("नमस्ते, दुनिया।", "hi", "नमस्ते दुनिया"),
        ("IŞIK İstanbul", "tr", "ışık istanbul"),
        ("IŞIK İstanbul", None, "işik istanbul"),
        ("L’été, c'est TOI!", "fr", "l été c est toi"),
        ("п’ять пʼять п'ять", "uk", "п ять п ять п ять"),
        ("می‌روم", "fa", "میروم"),
        ("[Musik] Größe (laut): 12 € <unk>", "de", "größe 12"),
        ("soft­hyphen \ufeffmark \u200eleft", None, "softhyphen mark left"),
        (" \n", None, ""),
    ],
)
def test_words_by_hand(text: str, language: str | None, expected: str) -> None:
    assert keep_marks(text, language) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“Don’t”, she said…", '" Don\'t " , she said . . .'),
        ("Größe: 12€ – [ja]", "Größe : 12 € - [ ja ]"),
        ("नमस्ते, दुनिया।", "नमस्ते , दुनिया ।"),
        ("As IT is", "As IT is"),
    ],
)
def test_case_and_punctuation_by_hand(text: str, expected: str) -> None:
    assert keep_case(text) == expected


@given(st.text())
@example("i\u200d\u0307")
def test_what_is_left_holds_no_punctuation_and_all_marks_of_its_letters(text: str) -> None:
    found = keep_marks(text)
    assert not any(unicodedata.category(character)[0] in "PS" for character in found)
    assert found == " ".join(found.split())
    assert keep_marks(found) == found


@given(st.text())
def test_cased_words_are_stable_and_keep_every_letter(text: str) -> None:
    found = keep_case(text)
    assert keep_case(found) == found
    letters = [c for c in unicodedata.normalize("NFC", text) if c.isalpha() and unicodedata.category(c) != "Lm"]
    assert [c for c in found if c.isalpha() and unicodedata.category(c) != "Lm"] == letters
