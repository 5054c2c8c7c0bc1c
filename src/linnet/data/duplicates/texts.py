"""Finding similar texts, or excerpts of them, by shared character n-grams.

Shapes: S stored texts, K n-grams of all of them.
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
SHORTEST = 20  # characters; shorter texts recur too often
_FEWEST = 10  # distinct n-grams; "ha ha ha ..." has three
_COMMON = 2000  # n-grams of more stored texts are ignored
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_POWERS = np.array([pow(0x100000001B3, PIECE - 1 - at, 2**64) for at in range(PIECE)], np.uint64)


@dataclass(frozen=True)
class Resemblance:
    """A similar stored text by its index; `share` is the share of the shorter text's n-grams that both have."""

    index: int
    share: float


def normalize(text: str) -> str:
    """Lowercase letters, digits and marks in compatibility forms; everything else becomes a space.

    >>> normalize("Ça va? C’est  ｆini!")
    'ça va c est fini'
    """
    return keep_marks(unicodedata.normalize("NFKC", text))


def pieces(text: str) -> Hashes:
    """The sorted, unique 64-bit hashes of all 7-character n-grams; empty for a shorter text.

    Characters instead of words also suit scripts without spaces, and a misspelled word costs few n-grams.
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
    """An index of texts; equal texts are stored once and found together.

    Texts match if they share at least `threshold` of the n-grams of the one with fewer, so that excerpts are found too.
    One different word in a sentence of ten leaves about 0.8. N-grams of more than 2,000 stored texts count as not
    shared. Texts of less than 20 characters are not compared.
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
        """The number of stored texts that are long enough."""
        return sum(map(len, self._indices))

    def find(self, text: str) -> list[Resemblance] | None:
        """The similar stored texts, best first; `None` for a text that is too short."""
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
