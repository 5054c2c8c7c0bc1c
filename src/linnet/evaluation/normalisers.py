"""What texts lose before they are compared: case, punctuation, spelling; by transformers' own normalisers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from linnet.errors import ModelError, OptionError

CHOICES = ("auto", "english", "basic", "none")


@dataclass(frozen=True)
class Spelling:
    """British spellings and their American forms, as Whisper's `normalizer.json` lists them."""

    words: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None  # where it was found; None: nowhere, all spellings stay as they are

    @property
    def digest(self) -> str | None:
        """Eight hexadecimal digits of the list, for reports."""
        if self.origin is None:
            return None
        return hashlib.sha256(json.dumps(dict(self.words), sort_keys=True).encode()).hexdigest()[:8]


def find_spelling(model: str) -> Spelling:
    """The list that comes with a model, else with any Whisper model in the local cache, else none. Uses no network."""
    from linnet.models import hub
    from linnet.models.resolve import resolve

    folders: list[tuple[str, Path]] = []
    with suppress(ModelError):  # a model that was loaded by other means
        folders.append((model, resolve(model, offline=True).path))
    whispers = [name for name in hub.cached_ids() if name.startswith("openai/whisper-")]
    folders += [(name, path) for name in whispers if (path := hub.cached(name)) is not None]
    for name, folder in folders:
        words = _read(folder / "normalizer.json")
        if words:
            return Spelling(words, name)
    return Spelling()


def _read(path: Path) -> dict[str, str]:
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        return {str(british): str(american) for british, american in words.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def is_english(language: str | None) -> bool:
    """Whether a code or name means English.

    >>> is_english("en-GB")
    True
    """
    return language is not None and language.lower().replace("_", "-").partition("-")[0] in ("en", "eng", "english")


@dataclass(frozen=True)
class Normalizers:
    """A normaliser for each language.

    auto: transformers' `EnglishTextNormalizer` for English, `BasicTextNormalizer` for every other and for unknown
    languages. The English one writes numbers as digits and joins those spoken one by one, so "three one four" becomes
    one word, "314": for digit strings choose basic. Basic replaces punctuation and marks by spaces. none: the texts as
    they are.

    >>> Normalizers("basic").normalize("Three, one: FOUR!", "en")
    'three one four'
    """

    choice: str = "auto"
    spelling: Spelling = field(default_factory=Spelling)

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise OptionError(f"normalizer {self.choice!r} is unknown: use {', '.join(CHOICES)}")

    def name(self, language: str | None) -> str:
        """Which one is used for a language: english, basic or none."""
        if self.choice != "auto":
            return self.choice
        return "english" if is_english(language) else "basic"

    def normalize(self, text: str, language: str | None) -> str:
        """The words of a text, separated by single spaces."""
        name = self.name(language)
        if name == "none":
            return " ".join(text.split())
        return (self._english if name == "english" else self._basic)(text).strip()

    @cached_property
    def _english(self) -> Callable[[str], str]:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        english: Callable[[str], str] = EnglishTextNormalizer(dict(self.spelling.words))
        return english

    @cached_property
    def _basic(self) -> Callable[[str], str]:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        basic: Callable[[str], str] = BasicTextNormalizer()
        return basic
