"""Words in scripts with and without spaces."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x31FF),  # Han radicals, kana, bopomofo
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # narrow kana
    (0x20000, 0x3FFFF),
)


def without_spaces(char: str) -> bool:
    """Whether a character belongs to a script that is written without spaces.

    >>> [without_spaces(char) for char in "a語한"]
    [False, True, False]
    """
    return any(first <= ord(char) <= last for first, last in _WITHOUT_SPACES)


def break_unspaced(token: str) -> list[str]:
    """Split a text without spaces before every character of such a script; punctuation stays with what it ends.

    >>> break_unspaced("今日は。ok!")
    ['今', '日', 'は。', 'ok!']
    """
    begins = [at for at in range(1, len(token)) if _may_begin(token[at - 1], token[at])]
    return [token[first:last] for first, last in pairwise([0, *begins, len(token)])]


def _may_begin(before: str, char: str) -> bool:
    if unicodedata.category(char)[0] not in "LN" or unicodedata.category(before) in ("Ps", "Pi"):
        return False
    return without_spaces(char) or without_spaces(before) or (ord(before) > 0x3000 and not before.isalnum())


def bears_sound(text: str) -> bool:
    """Whether a text holds anything spoken, beyond punctuation, symbols and spaces."""
    return any(unicodedata.category(char)[0] in "LNM" for char in text)
