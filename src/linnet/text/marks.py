"""Normalizers that keep what a script is written with: combining marks, and, where it counts, case and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from linnet.text.language_codes import base_language

VERSION: Final = 1  # raise it when a text comes out differently: it is part of the normalizers' hash

BRACKETS: Final = r"\[[^\]]*\]|<[^>]*>|\([^)]*\)"  # "[noise]", "<unk>", "(laughs)": said of the sound, not in it
APOSTROPHES: Final = "’‘ʼʻ‛＇`´"  # all written for "'"
DASHES: Final = "‐‑‒–—―−"
QUOTES: Final = "“”„‟«»‹›「」『』"
DOTLESS: Final = ("tr", "az")  # languages with a dotless i, whose capital is I

_IN_BRACKETS = re.compile(BRACKETS)


class _Table(dict[int, str | None]):
    """What each character becomes: punctuation and symbols `mark`, invisible ones nothing, all others themselves."""

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
    """The words of a text in lower case without punctuation and symbols, in any script; combining marks stay.

    Whisper's `BasicTextNormalizer` turns each mark into a space, and with it every vowel sign of Devanagari, Thai or
    Arabic, which makes many wrong words equal and cuts words in pieces. Here NFC composes what can be composed, only
    the Unicode categories P* and S* become spaces, and Cf (joiners, direction marks) goes; what brackets enclose goes
    too, as in Whisper's. The Unicode tables are those of the running Python.

    >>> keep_marks("नमस्ते, दुनिया!"), keep_marks("IŞIK", "tr"), keep_marks("[Musik] Größe: 12 €")
    ('नमस्ते दुनिया', 'ışık', 'größe 12')
    """
    text = unicodedata.normalize("NFC", text)
    if any(bracket in text for bracket in "[<("):
        text = _IN_BRACKETS.sub(" ", text)
    composed = unicodedata.normalize("NFC", text.translate(_WORDS))  # again: what stood between may be gone
    return " ".join(_lower(composed, language).split())


def keep_case(text: str) -> str:
    """The words of a text as they are written, each punctuation mark its own word.

    For the cased and punctuated word error rate: the forms of apostrophes, dashes and quotation marks are one, since
    no listener can tell them apart; an apostrophe stays within its word.

    >>> keep_case("“Don’t”, she said…")
    '" Don\\'t " , she said . . .'
    """
    return " ".join(unicodedata.normalize("NFC", text).translate(_WRITTEN).split())


def _lower(text: str, language: str | None) -> str:
    if language is not None and base_language(language) in DOTLESS:
        text = text.replace("I", "ı").replace("İ", "i")
    return text.lower().replace("i̇", "i")
