"""Whisper's English normalizer, as in transformers, fast enough for millions of rows.

Its some sixty regular expressions cost far more than the alignment that follows. Nearly all of them apply to single
words, so the result for each word is cached; only stretches of dependent words (numbers, "it's been") go through the
expressions together, between two stand-in words, and these are cached as well. The result is identical.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

_STAND_IN = "zzz"
_PLAIN = re.compile(r"[a-z,.?!;:\"-]+(?:'[a-z,.?!;:\"-]*)*")
_LETTERS = re.compile(r"[a-z]+")
_LITERAL = re.compile(r"(?:\\b)?[a-z' ]+\\b")  # an expression that matches certain words only
_HESITATIONS = re.compile(r"\\b\([a-z|]+\)\\b")
_AFTER_CONTRACTION = frozenset({"been", "gone", "done", "got", "half"})  # "it's been", "two and a half"
_WITH_NEIGHBORS = frozenset({"and", "a", "st", "nd", "rd", "th", "s"})  # part of a number next to another one
MOST_KEPT = 1 << 17

# The result for a word, and whether it may belong to an adjacent stretch. None: it is always part of a stretch.
_Word = tuple[str, bool]


class EnglishNormalizer:
    """`EnglishTextNormalizer` of transformers (Radford et al. 2022, appendix C), with cached results per word.

    `spelling` maps British spellings to American ones. The returned text has single spaces between its words. With
    `digits` each digit of a number is its own word (`linnet.text.spoken_numbers`).

    >>> EnglishNormalizer({"colour": "color"})("Mr. Smith's colour: twenty-one, isn't it?")
    'mister smith is color 21 is not it'
    """

    def __init__(self, spelling: Mapping[str, str], *, digits: bool = False) -> None:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        from linnet.text.spoken_numbers import DigitWords, NumberWords

        whisper = EnglishTextNormalizer(dict(spelling))
        whisper.standardize_numbers = DigitWords() if digits else NumberWords()
        self._whisper: Callable[[str], str] = whisper
        self._numbers: frozenset[str] = frozenset(whisper.standardize_numbers.words) | _AFTER_CONTRACTION
        # brackets remove their content; a lone apostrophe is attached to the word before it
        self._across_words = re.compile(rf"[<>\[\]()]|(?:^|\s)(?:{whisper.ignore_patterns})?'")
        self._spelling = spelling
        self._rewritten = _rewritten(whisper.ignore_patterns, whisper.replacers)
        self._words: dict[str, _Word | None] = {}
        self._stretches: dict[tuple[str, bool, bool], str | None] = {}

    @property
    def kept(self) -> tuple[int, int]:
        """The number of cached words and stretches: at most `MOST_KEPT` each."""
        return len(self._words), len(self._stretches)

    def __call__(self, text: str) -> str:
        """Normalize a text."""
        lowered = text.lower()
        words = lowered.split()
        if self._across_words.search(lowered) or ("'" in lowered and " ".join(words) != lowered.strip()):
            return self._slow(text)  # "'s been" and the like require exactly one space
        known = self._words
        try:
            found = [known[word] for word in words]
        except KeyError:
            found = [self._word(word) for word in words]
        if None not in found:
            return " ".join([word[0] for word in found if word is not None and word[0]])
        pieces = list(self._pieces(words, found))
        return self._slow(text) if None in pieces else " ".join(piece for piece in pieces if piece)

    def _slow(self, text: str) -> str:
        return self._whisper(text).strip()

    def _pieces(self, words: list[str], found: list[_Word | None]) -> Iterator[str | None]:
        """The results for words and stretches, in order; None if only the whole text determines them."""
        begin = 0
        while begin < len(words):
            end = begin
            while end < len(words) and ((word := found[end]) is None or word[1]):
                end += 1
            if None in found[begin:end]:
                yield self._stretch(" ".join(words[begin:end]), begin == 0, end == len(words))
            else:
                end = max(end, begin + 1)
                yield " ".join(word[0] for word in found[begin:end] if word is not None and word[0])
            begin = end

    def _stretch(self, text: str, first: bool, last: bool) -> str | None:
        key = text, first, last
        if key not in self._stretches:
            if len(self._stretches) >= MOST_KEPT:
                self._stretches.clear()
            self._stretches[key] = self._between(text, "" if first else _STAND_IN, "" if last else _STAND_IN)
        return self._stretches[key]

    def _between(self, text: str, before: str, after: str) -> str | None:
        """The result for a text between two stand-in words; None if those change too."""
        whole = f" {self._slow(f'{before} {text} {after}')} "
        if not whole.startswith(f" {before} " if before else " ") or not whole.endswith(f" {after} " if after else " "):
            return None
        return whole[len(before) + 1 : len(whole) - len(after) - 1].strip()

    def _word(self, word: str) -> _Word | None:
        if word not in self._words:
            if len(self._words) >= MOST_KEPT:
                self._words.clear()
            self._words[word] = self._alone(word)
        return self._words[word]

    def _alone(self, word: str) -> _Word | None:
        parts = _LETTERS.findall(word)
        if not _PLAIN.fullmatch(word) or ".." in word or not self._numbers.isdisjoint(parts):
            return None
        if self._rewritten is not None and self._rewritten.isdisjoint(parts) and "'" not in word:
            result: str | None = " ".join(self._spelling.get(part, part) for part in parts)
        else:
            result = self._between(word, _STAND_IN, _STAND_IN)
        if result is None or not self._numbers.isdisjoint(result.split()):
            return None
        contracted = "'s" in word or "'d" in word
        return result, not result or contracted or not _WITH_NEIGHBORS.isdisjoint(parts)


def _rewritten(hesitations: str, replacers: Iterable[str]) -> frozenset[str] | None:
    """A superset of the words that the expressions change; None if they match more than certain words."""
    if not _HESITATIONS.fullmatch(hesitations) or not all(map(_LITERAL.fullmatch, replacers)):
        return None
    return frozenset(word for pattern in (hesitations, *replacers) for word in _LETTERS.findall(pattern[2:]))
