"""The interface of phoneme backends: from words to phones."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

Phones = tuple[str, ...]

MOST_KEPT: Final = 1 << 18  # cached words per backend
_DIGITS: Final = tuple("0123456789")


class PhonemeBackend(Protocol):
    """Turns the words of one language in one script into phones.

    `name` identifies the source of the phones, such as `epitran:deu-Latn`: it is recorded with each row, and only
    phones with the same name are compared. `phones` has an entry for each word, None for unknown words.
    """

    @property
    def name(self) -> str:
        """The backend and its setting."""
        ...

    def phones(self, words: Sequence[str]) -> list[Phones | None]:
        """The phones of each word."""
        ...


class Kept:
    """Caches a backend's results per word, since a corpus repeats its words and each costs microseconds."""

    def __init__(self, name: str, speak: Callable[[Sequence[str]], list[Phones | None]], *, most: int = MOST_KEPT):
        self.name = name
        self._speak = speak
        self._most = most
        self._known: dict[str, Phones | None] = {}

    def phones(self, words: Sequence[str]) -> list[Phones | None]:
        """The phones of each word; each word is looked up once."""
        new = list(dict.fromkeys(word for word in words if word not in self._known))
        if len(self._known) + len(new) > self._most:
            self._known.clear()
            new = list(dict.fromkeys(words))
        for word, found in zip(new, self._speak(new), strict=True) if new else ():
            self._known[word] = found
        return [self._known[word] for word in words]


def interned(phones: Iterable[str]) -> Phones | None:
    """Phones with one shared object per symbol; None if there are none."""
    return tuple(map(sys.intern, phones)) or None


def spelled_digits(word: str) -> Phones | None:
    """The digits of a number in any script, for backends without numbers; None for other words.

    >>> spelled_digits("३14"), spelled_digits("a1")
    (('3', '1', '4'), None)
    """
    if not word.isdecimal():
        return None
    return tuple(_DIGITS[unicodedata.decimal(digit)] for digit in word)
