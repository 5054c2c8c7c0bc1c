"""Grapheme clusters as a substitute for phones, for languages without a better backend."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from linnet.curation.phonemes.base import Phones, interned


@cache
def _cluster() -> Any:
    import regex

    return regex.compile(r"\X")


def clusters(word: str) -> list[str]:
    """The letters of a word with their combining marks (UAX 29, extended grapheme clusters).

    >>> [len(one) for one in clusters("नमस्ते")]
    [1, 1, 4]
    """
    found: list[str] = _cluster().findall(word)
    return found


class Graphemes:
    """The grapheme clusters of a word instead of its phones, for every word of every language."""

    name = "graphemes"

    def phones(self, words: Sequence[str]) -> list[Phones | None]:
        """The clusters of each word."""
        return [interned(clusters(word)) for word in words]
