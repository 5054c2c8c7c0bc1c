"""Words and language in a response; both may be missing or malformed without invalidating the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linnet.transcription.transcript import Word


def parse_words(words: Any, *, text: str = "text", unit: float = 1.0, kind: str | None = None) -> tuple[Word, ...]:
    """The words with times in a JSON list of objects; `unit` is the time unit in seconds.

    `kind` selects objects by their `type` (others are spaces and audio events).

    >>> parse_words([{"text": "one", "start": 250, "end": 500}, {"text": "two"}], unit=1e-3)
    (Word(word='one', start=0.25, end=0.5, probability=None, interpolated=False),)
    """
    if not isinstance(words, list | tuple):
        return ()
    return tuple(
        Word(str(word[text]), float(word["start"]) * unit, float(word["end"]) * unit)
        for word in words
        if isinstance(word, Mapping)
        and word.get(text)
        and (kind is None or word.get("type") == kind)
        and all(isinstance(word.get(key), int | float) for key in ("start", "end"))
    )


def parse_language(value: Any) -> str | None:
    """The language, if reported."""
    return value if isinstance(value, str) and value else None
