"""Scripts by the names of Unicode."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache


def main_script(words: Sequence[str]) -> str | None:
    """The script of most letters; None where it has none.

    >>> main_script(["привет", "ok"])
    'CYRILLIC'
    """
    found = scripts(words)
    return max(found, key=lambda name: (found[name], name)) if found else None


def scripts(words: Sequence[str]) -> Counter[str]:
    """How many letters are of each script."""
    return Counter(script for word in words for char in word if (script := _script(char)))


@lru_cache(maxsize=2**16)
def _script(char: str) -> str | None:
    """By the first word of the Unicode name; Chinese letters and kana are one, as they are in Japanese."""
    char = unicodedata.normalize("NFKC", char)[0]
    if not char.isalpha():
        return None
    name = unicodedata.name(char, "UNKNOWN").partition(" ")[0]
    return "HAN AND KANA" if name in ("CJK", "HIRAGANA", "KATAKANA") else name
