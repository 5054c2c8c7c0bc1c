"""uroman: romanization of any script, with each letter as a phone (Hermjakob, May and Knight 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from linnet.curation.phonemes.base import Kept, Phones, interned
from linnet.errors import MissingExtra


def is_installed() -> bool:
    """Whether uroman can be imported."""
    return find_spec("uroman") is not None


class Romanized:
    """The romanized letters of a word by uroman, for languages without a better backend.

    Tones and marks of Latin letters are lost; digits are kept.
    """

    def __init__(self, language: str) -> None:
        self.name = "uroman"
        self._code = _alpha3(language)
        self._kept = Kept(self.name, self._speak)

    def phones(self, words: Sequence[str]) -> list[Phones | None]:
        """The letters of each word."""
        return self._kept.phones(words)

    def _speak(self, words: Sequence[str]) -> list[Phones | None]:
        roman = _uroman()
        return [interned(_letters(roman.romanize_string(word, lcode=self._code))) for word in words]


@cache
def _uroman() -> Any:
    """uroman's tables, loaded once per process since it takes seconds."""
    try:
        from uroman import Uroman
    except ImportError as error:
        raise MissingExtra("romanization", extra="phonemes") from error
    return Uroman()


def _letters(roman: str) -> list[str]:
    return [letter for letter in roman.lower() if letter.isalnum()]


def _alpha3(language: str) -> str | None:
    from langcodes import Language

    try:
        return None if language == "und" else Language.get(language).to_alpha3()
    except LookupError:
        return None
