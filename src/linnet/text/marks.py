"""Normalizers that keep combining marks, and one that keeps case and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from linnet.text.language_codes import base_language

VERSION: Final = 1  # increase it when a result changes: it is part of the normalizers' hash

BRACKETS: Final = r"\[[^\]]*\]|<[^>]*>|\([^)]*\)"  # "[noise]", "<unk>", "(laughs)": annotations, not speech
APOSTROPHES: Final = "’‘ʼʻ‛＇`´"  # all written for "'"
DASHES: Final = "‐‑‒–—―−"
QUOTES: Final = "“”„‟«»‹›「」『』"
DOTLESS: Final = ("tr", "az")  # languages with a dotless i, whose capital is I

_IN_BRACKETS = re.compile(BRACKETS)


class _Table(dict[int, str | None]):
    """Character mapping: punctuation and symbols to `mark`, invisible characters to nothing, all others to
    themselves."""

    def __init__(self, mark: str, known: Mapping[str, str]) -> None:
        super().__init__({ord(character): new for character, new in known.items()})
        self.mark = mark

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        new = None if category == "Cf" else self.mark.format(character) if category[0] in "PS" else character
        self[code] = new
        return new


_WORDS = _Table(" ", dict.fromkeys(APOSTROPHES, " "))
_WRITTEN = _Table(
    " {} ",
    {
        **dict.fromkeys("'" + APOSTROPHES, "'"),
        **dict.fromkeys(DASHES, " - "),
        **dict.fromkeys(QUOTES, ' " '),
        "…": " . . . ",
    },
)


def keep_marks(text: str, language: str | None = None) -> str:
    """The words of a text in lower case without punctuation and symbols, in any script; combining marks are kept.

    Whisper's `BasicTextNormalizer` replaces each mark by a space, including every vowel sign of Devanagari, Thai or
    Arabic, which makes different words equal and splits words. Here NFC composes characters, only the Unicode
    categories P* and S* become spaces, and Cf (joiners, direction marks) is removed; bracketed text is removed too, as
    in Whisper's. The Unicode tables are those of the running Python.

    >>> keep_marks("नमस्ते, दुनिया!"), keep_marks("IŞIK", "tr"), keep_marks("[Musik] Größe: 12 €")
    ('नमस्ते दुनिया', 'ışık', 'größe 12')
    """
    text = unicodedata.normalize("NFC", text)
    if "[" in text or "<" in text or "(" in text:
        text = _IN_BRACKETS.sub(" ", text)
    composed = unicodedata.normalize("NFC", text.translate(_WORDS))  # again: text in between may have been removed
    return " ".join(_lower(composed, language).split())


def keep_case(text: str) -> str:
    """The words of a text as written, each punctuation mark its own word.

    For the cased and punctuated word error rate: variants of apostrophes, dashes and quotation marks are unified, since
    they sound the same; an apostrophe stays within its word.

    >>> keep_case("“Don’t”, she said…")
    '" Don\\'t " , she said . . .'
    """
    return " ".join(unicodedata.normalize("NFC", text).translate(_WRITTEN).split())


def _lower(text: str, language: str | None) -> str:
    if language is not None and base_language(language) in DOTLESS:
        text = text.replace("I", "ı").replace("İ", "i")
    return text.lower().replace("i̇", "i")
