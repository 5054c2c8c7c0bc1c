"""Finding a text among many, or a part of it, by the short pieces they share.

Shapes: S stored texts, K pieces of all of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.text.marks import keep_marks

Hashes = npt.NDArray[np.uint64]

PIECE = 7  # characters
SHORTEST = 20  # characters: below it, too many people say the same
_FEWEST = 10  # different pieces: "ha ha ha ..." has three
_COMMON = 2000  # a piece that more stored texts have says nothing
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_POWERS = np.array([pow(0x100000001B3, PIECE - 1 - at, 2**64) for at in range(PIECE)], np.uint64)


@dataclass(frozen=True)
class Resemblance:
    """A stored text that another one is like: which, and the share of the shorter one's pieces that both have."""

    index: int
    share: float


def normalize(text: str) -> str:
    """Small letters, digits and marks, in their compatibility forms; everything else is a space.

    >>> normalize("Ça va? C’est  ｆini!")
    'ça va c est fini'
    """
    return keep_marks(unicodedata.normalize("NFKC", text))


def pieces(text: str) -> Hashes:
    """The sorted 64-bit hashes of all stretches of seven characters, each once; none for a shorter text.

    Characters and not words, so that scripts without spaces have pieces too and a misspelt word costs few.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(codes) < PIECE:
        return np.zeros(0, np.uint64)
    stretches = np.lib.stride_tricks.sliding_window_view(codes, PIECE)
    mixed = (stretches * _POWERS).sum(axis=1, dtype=np.uint64) * _MULTIPLIER
    return np.unique(mixed ^ (mixed >> np.uint64(29)))


def _long_enough(plain: str) -> bool:
    return len(plain) >= SHORTEST and len(pieces(plain)) >= _FEWEST


class TextIndex:
    """Texts that others are looked up in; equal ones are stored once and found together.

    Two texts are alike where they share at least `threshold` of the pieces of the one that has fewer, so that a
    sentence within a page is found and so is a page around a sentence. One other word in a sentence of ten leaves about
    0.8. The shares are exact but for pieces of more than 2,000 stored texts, which count as shared by none. Texts of
    less than 20 characters are not compared.
    """

    def __init__(self, texts: Sequence[str | None], threshold: float = 0.75) -> None:
        self.threshold = threshold
        self._holders: dict[str, list[int]] = {}
        for index, text in enumerate(texts):
            if text is not None and _long_enough(plain := normalize(text)):
                self._holders.setdefault(plain, []).append(index)
        self._indices = list(self._holders.values())
        found = [pieces(plain) for plain in self._holders]
        self._sizes = np.array([len(one) for one in found], np.int64)
        hashes = np.concatenate([*found, np.zeros(0, np.uint64)])
        order = np.argsort(hashes, kind="stable")
        self._hashes: Hashes = hashes[order]
        self._owners = np.repeat(np.arange(len(found), dtype=np.int32), self._sizes)[order]

    @property
    def compared(self) -> int:
        """How many of the stored texts are long enough."""
        return sum(map(len, self._indices))

    def find(self, text: str) -> list[Resemblance] | None:
        """The stored texts that a text is like, the most alike first; `None` where it is too short."""
        plain = normalize(text)
        if not _long_enough(plain):
            return None
        equal = self._holders.get(plain, [])
        mine = pieces(plain)
        first = np.searchsorted(self._hashes, mine, "left")
        counts = np.searchsorted(self._hashes, mine, "right") - first
        counts[counts > _COMMON] = 0
        found = [Resemblance(index, 1.0) for index in equal]
        if counts.any():
            hits = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            owners, shared = np.unique(self._owners[hits], return_counts=True)
            shares = shared / np.minimum(self._sizes[owners], len(mine))
            for at in np.flatnonzero(shares >= self.threshold):
                indices = self._indices[owners[at]]
                found += [Resemblance(index, float(shares[at])) for index in indices if indices is not equal]
        return sorted(found, key=lambda one: (-one.share, one.index))
