"""Normalize texts before comparison: case, punctuation, spelling. Each normalizer has an id with a hash."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

from linnet.errors import OptionError
from linnet.text.language_codes import base_language
from linnet.text.marks import APOSTROPHES, BRACKETS, DASHES, DOTLESS, QUOTES, VERSION, keep_case, keep_marks

CHOICES = ("auto", "english", "digits", "basic", "unicode", "cased", "none")
ENGLISH = ("english", "digits")  # these use the list of spellings
_TABLES = (APOSTROPHES, BRACKETS, DASHES, DOTLESS, QUOTES)


@dataclass(frozen=True)
class Spelling:
    """British spellings and their American forms, from Whisper's `normalizer.json`."""

    words: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None  # where it was found; None: not found, spellings are kept

    @property
    def digest(self) -> str | None:
        """Eight hexadecimal digits of the list, for reports."""
        if self.origin is None:
            return None
        return _digest(dict(self.words))


def is_english(language: str | None) -> bool:
    """Whether a code or name means English.

    >>> is_english("en-GB")
    True
    """
    return language is not None and base_language(language) in ("en", "eng", "english")


@dataclass(frozen=True)
class Normalizers:
    """A normalizer for each language.

    auto: english for English, unicode for all other and unknown languages. english: Whisper's, as in transformers:
    lower case, numbers as digits, contractions expanded, American spelling. It joins consecutive spoken digits, so
    "three one four" becomes one word, "314", but "3 1 4" stays three. digits: english, then each digit of a number is a
    word: "three one four", "314" and "3 1 4" are equal, and one wrong digit is one error. For connected digits, phone
    numbers, codes. unicode: lower case without punctuation and symbols; combining marks of all scripts are kept
    (`linnet.text.marks`). basic: Whisper's for all languages; it also replaces combining marks by spaces, so Hindi,
    Thai or Tamil lose vowels. cased: keeps case, and each punctuation mark is a word, for the cased and punctuated word
    error rate. none: verbatim.

    >>> Normalizers("unicode").normalize("Three, one: FOUR!", "en")
    'three one four'
    >>> Normalizers("digits").normalize("Room three oh seven.", "en")
    'room 3 0 7'
    """

    choice: str = "auto"
    spelling: Spelling = field(default_factory=Spelling)

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            if self.choice == "marks":
                raise OptionError("normalizer 'marks' was renamed: use unicode")
            raise OptionError(f"normalizer {self.choice!r} is unknown: use {', '.join(CHOICES)}")

    def name(self, language: str | None) -> str:
        """The normalizer for a language: english, digits, basic, unicode, cased or none."""
        if self.choice != "auto":
            return self.choice
        return "english" if is_english(language) else "unicode"

    def id(self, language: str | None) -> str:
        """The name with a hash of its rules, such as unicode@1a2b3c4d: results with equal ids are comparable."""
        return self._id(self.name(language))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of the rules of this choice, over all languages."""
        names = ("english", "unicode") if self.choice == "auto" else (self.choice,)
        return _digest(*map(self._id, names))

    def normalize(self, text: str, language: str | None) -> str:
        """Normalize a text to words separated by single spaces."""
        return self.function(language)(text)

    def function(self, language: str | None) -> Callable[[str], str]:
        """The function that `normalize` applies for a language, for many texts."""
        name = self.name(language)
        if name in ENGLISH:
            return self._digits if name == "digits" else self._english
        if name == "unicode":
            return lambda text: keep_marks(text, language)
        return {"basic": self._basic, "cased": keep_case, "none": verbatim}[name]

    def _id(self, name: str) -> str:
        if name not in self._ids:
            self._ids[name] = self._made_id(name)
        return self._ids[name]

    @cached_property
    def _ids(self) -> dict[str, str]:
        return {}

    def _made_id(self, name: str) -> str:
        if name in (*ENGLISH, "basic"):
            does: tuple[object, ...] = (name, whisper_source(), self.spelling.digest if name in ENGLISH else None)
            does += (_rules_of_digits(),) if name == "digits" else ()
        else:
            first = "marks" if name == "unicode" else name  # its former name: ids of earlier files stay comparable
            does = (first, VERSION, _TABLES)
        return f"{name}@{_digest(*does)}"

    @cached_property
    def _english(self) -> Callable[[str], str]:
        from linnet.text.english import EnglishNormalizer

        return EnglishNormalizer(self.spelling.words)

    @cached_property
    def _digits(self) -> Callable[[str], str]:
        from linnet.text.english import EnglishNormalizer

        return EnglishNormalizer(self.spelling.words, digits=True)

    @cached_property
    def _basic(self) -> Callable[[str], str]:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        basic: Callable[[str], str] = BasicTextNormalizer()
        return lambda text: basic(text).strip()


def verbatim(text: str) -> str:
    """The text unchanged, except for single spaces between words.

    >>> verbatim(" As it  IS. ")
    'As it IS.'
    """
    return " ".join(text.split())


@cache
def whisper_source() -> str:
    """The source code of Transformers' normalizers, for digests."""
    from transformers.models.whisper import english_normalizer

    return inspect.getsource(english_normalizer)


def _rules_of_digits() -> int:
    from linnet.text.spoken_numbers import VERSION

    return VERSION


def _digest(*parts: object) -> str:
    """Eight hexadecimal digits of a hash of the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
