"""Number rules of Whisper's English normalizer, and a variant with each digit as its own word."""

from __future__ import annotations

import re
from collections.abc import Iterator

from transformers.models.whisper.english_normalizer import EnglishNumberNormalizer

VERSION = 2  # version of the rules of `DigitWords`, for the hash in a normalizer's id

_LONG = re.compile(r"(\d{4000})(?=\d)")  # Python converts at most 4300 digits to a number
_NUMERAL = re.compile(r"(\d+)(?:\.(\d+))?")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)(?=\.?\d)|(?<=\bone)(?=\.\d)")
_ONE = re.compile(r"(?<![.$£€])\b1(s?)\b")  # Whisper writes "one" for it if it stands alone
# And also elsewhere: 3.1 becomes "3.one", whose point is removed like a full stop.
_LOST_ONE = re.compile(r"(?<=[.$£€])one(s?)\b")
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class NumberWords(EnglishNumberNormalizer):  # type: ignore[misc,unused-ignore]
    """Whisper's rules with identical results, except that a numeral of thousands of digits is split instead of an
    error."""

    def preprocess(self, s: str) -> str:
        """Separate the numbers in a text."""
        return str(super().preprocess(_LONG.sub(r"\1 ", s)))


class DigitWords(NumberWords):
    """Each digit is a word, so "3 5 7", "357" and "three five seven" are the same three words.

    Numerals are first written as spoken digit by digit; Whisper's rules then join them to one number, including leading
    zeros, and that is split.

    >>> [DigitWords()(text) for text in ("3 5 7", "357", "three five seven", "twenty one dollars", "point 0 5")]
    ['3 5 7', '3 5 7', '3 5 7', '$2 one', '.0 5']
    """

    def process_words(self, words: list[str]) -> Iterator[str]:
        """Join number words to numerals."""
        yield from super().process_words(list(self._spoken(words)))

    def _spoken(self, words: list[str]) -> Iterator[str]:
        for place, word in enumerate(words):
            numeral = _NUMERAL.fullmatch(word)
            if numeral is None or self._begins_anew(words, place):
                yield word
                continue
            whole, part = numeral.groups()
            yield from (_NAMES[int(digit)] for digit in whole)
            if part is not None:
                yield "point"
                yield from (_NAMES[int(digit)] for digit in part)

    def _begins_anew(self, words: list[str], place: int) -> bool:
        """Whether a numeral starts a new number: "2019 20 million" must not become 201920 million."""
        many = self.multipliers.keys() | self.multipliers_suffixed.keys()
        after = place + 1 < len(words) and words[place + 1] in many
        return after and not (place and words[place - 1] in many)

    def postprocess(self, s: str) -> str:
        """Restore currencies and split numerals into digits."""
        joined = _LOST_ONE.sub(r"1\1", str(super().postprocess(s)))
        apart = _BETWEEN_DIGITS.sub(" ", joined)
        return _ONE.sub(r"one\1", apart)
