"""Sketches of unit sequences (MinHash): the share of equal values estimates the similarity of two recordings.

Shapes: R units, S sketch values.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SIZE = 64  # values per sketch
GRAM = 5  # units

_MIX = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0x100000001B3)
_SEED = 20020519
_HALF = np.uint64(32)


def sketch(units: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """The sketch [S] of a sequence of units [R]: the minimum of each of 64 hash functions over all 5-grams.

    Two sketches agree in a value with a probability equal to the Jaccard similarity of their sets of 5-grams (Broder
    1997, "On the resemblance and containment of documents"). One to four units form one gram; an empty sequence has no
    sketch.
    """
    if not len(units):
        return np.zeros(0, np.uint32)
    hashes = np.unique(_grams(units))
    factors, offsets = _functions()
    made: NDArray[np.uint32] = ((factors[:, None] * hashes + offsets[:, None]) >> _HALF).min(axis=1).astype(np.uint32)
    return made


def likeness(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> float:
    """The estimated Jaccard similarity of two sketched sequences; 0 if one is empty."""
    return float(np.mean(one == other)) if len(one) and len(other) else 0.0


def _grams(units: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """A 64-bit hash of each 5-gram, well mixed."""
    length = min(GRAM, len(units))
    values = units.astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(len(units) - length + 1, np.uint64)
    for at in range(length):
        hashes = hashes * _BASE + values[at : at + len(hashes)]
    hashes = (hashes ^ (hashes >> _HALF)) * _MIX
    mixed: NDArray[np.uint64] = hashes ^ (hashes >> _HALF)
    return mixed


@lru_cache(maxsize=1)
def _functions() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Odd factors and offsets of the hash functions, [S] each: the same on every machine."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    drawn = generator.integers(0, 2**63, (2, SIZE), np.uint64)
    return drawn[0] * np.uint64(2) + np.uint64(1), drawn[1]
