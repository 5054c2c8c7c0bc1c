"""The words of a transcript in any script, for selection and for phoneme backends."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linnet.text.marks import APOSTROPHES, keep_marks
from linnet.text.scripts import text_script

_APOSTROPHE: Final = "\ue000"  # placeholder for an apostrophe inside a word: not in any text
_INSIDE = re.compile(rf"(?<=\w)['{APOSTROPHES}](?=\w)|[ʻʼ](?=\w)|(?<=\w)[ʻʼ]")  # the last two are always letters
_WORDS_KEPT: Final = 1 << 18


@dataclass(frozen=True)
class TextWords:
    """The words of a transcript.

    `words`: in lower case, without punctuation, with all combining marks. `units`: the same, but grapheme clusters for
    scripts without spaces. `characters`: the number of letters and digits, without marks. `script`: that of most
    letters (ISO 15924), `share` their share of all.
    """

    words: tuple[str, ...]
    units: tuple[str, ...]
    characters: int
    script: str
    share: float

    @property
    def hashes(self) -> NDArray[np.uint32]:
        """A hash of each unit, [units]: equal in all processes and languages."""
        return np.array([word_hash(unit) for unit in self.units], np.uint32)


def read_text(text: str, language: str | None = None) -> TextWords:
    """Read the words of a transcript. An apostrophe inside a word is kept, since it is spoken ("don't", "oʻzbek").

    >>> read_text("Don’t, 今日は!").units
    ("don't", '今', '日', 'は')
    """
    kept = keep_marks(_INSIDE.sub(_APOSTROPHE, text), language).replace(_APOSTROPHE, "'")
    words = tuple(kept.split())
    script, share = text_script(kept)
    units = words if not _unspaced().search(kept) else tuple(unit for word in words for unit in _cut(word))
    return TextWords(words, units, _characters(kept), script, share)


@lru_cache(maxsize=_WORDS_KEPT)
def word_hash(word: str) -> int:
    """A 32-bit hash of a word by BLAKE2b."""
    digest = hashlib.blake2b(word.encode(errors="backslashreplace"), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def _characters(text: str) -> int:
    return sum(count for character, count in Counter(text).items() if unicodedata.category(character)[0] in "LN")


@cache
def _unspaced() -> Any:
    """Whether a letter belongs to a script without spaces. Tibetan needs no entry: its tsheg is punctuation."""
    import regex

    scripts = ("Hani", "Hira", "Kana", "Bopo", "Yiii", "Thai", "Laoo", "Khmr", "Mymr", "Tale", "Talu", "Lana", "Tavt")
    more = ("Java", "Bali")
    return regex.compile("[" + "".join(rf"\p{{scx={code}}}" for code in (*scripts, *more)) + "--[0-9]]", regex.V1)


@cache
def _pieces() -> Any:
    import regex

    letter = _unspaced().pattern
    return regex.compile(rf"(?={letter})\X|(?:(?!{letter})\X)+", regex.V1)


def _cut(word: str) -> list[str]:
    found: list[str] = _pieces().findall(word)
    return found
