"""Scripts by ISO 15924: the script of each letter, and the main script of a text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

NONE, OTHER = "Zyyy", "Zzzz"  # no letters; a script that is not in the table below

# The first word of a letter's Unicode name -> the code of its script.
_CODES = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr", "ARMENIAN": "Armn",
    "GEORGIAN": "Geor", "DEVANAGARI": "Deva", "BENGALI": "Beng", "GURMUKHI": "Guru", "GUJARATI": "Gujr",
    "ORIYA": "Orya", "TAMIL": "Taml", "TELUGU": "Telu", "KANNADA": "Knda", "MALAYALAM": "Mlym", "SINHALA": "Sinh",
    "THAI": "Thai", "LAO": "Laoo", "TIBETAN": "Tibt", "MYANMAR": "Mymr", "KHMER": "Khmr", "ETHIOPIC": "Ethi",
    "HANGUL": "Hang", "CJK": "Hani", "HIRAGANA": "Hira", "KATAKANA": "Kana", "BOPOMOFO": "Bopo", "YI": "Yiii",
    "TIFINAGH": "Tfng", "THAANA": "Thaa", "SYRIAC": "Syrc", "CANADIAN": "Cans", "CHEROKEE": "Cher",
    "MONGOLIAN": "Mong", "NKO": "Nkoo", "AVESTAN": "Avst", "GOTHIC": "Goth", "JAVANESE": "Java", "BALINESE": "Bali",
    "SUNDANESE": "Sund", "BUGINESE": "Bugi", "OL": "Olck", "MEETEI": "Mtei", "ADLAM": "Adlm", "VAI": "Vaii",
    "SHAVIAN": "Shaw", "COPTIC": "Copt", "GLAGOLITIC": "Glag", "MODIFIER": NONE, "FEMININE": NONE, "MASCULINE": NONE,
}  # fmt: skip

# Scripts that one text mixes -> their common code here.
_GROUPS = {"Hans": "Hani", "Hant": "Hani", "Kore": "Hang", "Hira": "Jpan", "Kana": "Jpan", "Hrkt": "Jpan"}


def script_group(code: str) -> str:
    """One code for scripts that a text mixes: simplified and traditional Han, kana and Han, Hangul.

    >>> [script_group(code) for code in ("Hant", "Kana", "Kore", "Latn")]
    ['Hani', 'Jpan', 'Hang', 'Latn']
    """
    return _GROUPS.get(code, code)


def text_script(text: str) -> tuple[str, float]:
    """The script of most letters of a text, and its share of the letters; ("Zyyy", 0.0) without letters.

    Han together with any kana is Japanese, `Jpan`. Ties: the first in alphabetical order.

    >>> text_script("привет"), text_script("今日は"), text_script("今日"), text_script("3 5")
    (('Cyrl', 1.0), ('Jpan', 1.0), ('Hani', 1.0), ('Zyyy', 0.0))
    """
    found: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if code := letter_script(character):
            found[code] += count
    if found["Jpan"]:
        found["Jpan"] += found.pop("Hani", 0)
    letters = found.total()
    if not letters:
        return NONE, 0.0
    code = min(found, key=lambda one: (-found[one], one))
    return code, found[code] / letters


def scripts_of(words: Iterable[str]) -> frozenset[str]:
    """The scripts of all letters of some words; Han and kana are separate."""
    return frozenset(code for word in words for character in word if (code := letter_script(character)))


@lru_cache(maxsize=1 << 16)
def letter_script(character: str) -> str:
    """The script of one letter; empty for other characters, and for letters common to all scripts."""
    if not character.isalpha():
        return ""
    name = unicodedata.name(unicodedata.normalize("NFKC", character)[0], "UNKNOWN").partition(" ")[0]
    code = script_group(_CODES.get(name, OTHER))
    return "" if code == NONE else code
