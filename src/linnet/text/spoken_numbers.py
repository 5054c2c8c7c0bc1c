"""Numbers as Whisper's English normalizer writes them, and the same with each digit as its own word."""

from __future__ import annotations

import re
from collections.abc import Iterator

from transformers.models.whisper.english_normalizer import EnglishNumberNormalizer

VERSION = 2  # of the rules of `DigitWords`, for the hash in a normalizer's id

_LONG = re.compile(r"(\d{4000})(?=\d)")  # Python makes a number of at most 4300 digits
_NUMERAL = re.compile(r"(\d+)(?:\.(\d+))?")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)(?=\.?\d)|(?<=\bone)(?=\.\d)")
_ONE = re.compile(r"(?<![.$£€])\b1(s?)\b")  # Whisper writes "one" for it where it stands alone
# And where it does not: 3.1 is "3.one", whose point goes, as a full stop.
_LOST_ONE = re.compile(r"(?<=[.$£€])one(s?)\b")
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class NumberWords(EnglishNumberNormalizer):  # type: ignore[misc,unused-ignore]
    """Whisper's, text for text; but where it ends with an error, at a numeral of thousands of digits, it cuts that."""

    def preprocess(self, s: str) -> str:
        """The text with its numbers set apart."""
        return str(super().preprocess(_LONG.sub(r"\1 ", s)))


class DigitWords(NumberWords):
    """Each digit is a word, so that "3 5 7", "357" and "three five seven" are the same three words.

    Numerals are first written as they are spoken digit by digit; Whisper's rules then join all to one number, leading
    zeros and all, and that is taken apart.

    >>> [DigitWords()(text) for text in ("3 5 7", "357", "three five seven", "twenty one dollars", "point 0 5")]
    ['3 5 7', '3 5 7', '3 5 7', '$2 one', '.0 5']
    """

    def process_words(self, words: list[str]) -> Iterator[str]:
        """The words with numbers joined to numerals."""
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
        """Whether a numeral begins its own number: "2019 20 million" shall not be 201920 million."""
        many = self.multipliers.keys() | self.multipliers_suffixed.keys()
        after = place + 1 < len(words) and words[place + 1] in many
        return after and not (place and words[place - 1] in many)

    def postprocess(self, s: str) -> str:
        """The text with its currencies in place and its numerals taken apart."""
        joined = _LOST_ONE.sub(r"1\1", str(super().postprocess(s)))
        apart = _BETWEEN_DIGITS.sub(" ", joined)
        return _ONE.sub(r"one\1", apart)
