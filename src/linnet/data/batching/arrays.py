"""Array types and counter-based random numbers of the batch planner."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Seconds = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int32]


def digest_of(text: str, *arrays: npt.NDArray[Any]) -> str:
    """A hash of some text and of the bytes of some arrays, the same on every machine."""
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def stream(seed: int, epoch: int, purpose: int) -> np.random.Philox:
    """The random stream of one purpose in one epoch, the same on every machine and version of NumPy.

    Philox (Salmon et al. 2011) is counter-based, so any epoch can be reached directly. Only its raw numbers are used,
    since NumPy may change its generator methods.
    """
    return np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=np.array([0, 0, 0, purpose], np.uint64))


def uniform(random: np.random.Philox, count: int) -> Floats:
    """`count` numbers in [0, 1)."""
    return np.asarray(np.asarray(random.random_raw(count)) >> np.uint64(11), np.float64) * 2.0**-53


def shuffled(random: np.random.Philox, count: int) -> Ints:
    """0 to `count` - 1 in random order."""
    return np.argsort(np.asarray(random.random_raw(count)), kind="stable")


def shuffled_in_groups(random: np.random.Philox, groups: npt.NDArray[np.int16]) -> Ints:
    """Positions sorted by group (zero or more), and within each group in random order."""
    low = np.asarray(random.random_raw(len(groups))) >> np.uint64(16)
    return np.argsort(groups.astype(np.uint64) << np.uint64(48) | low, kind="stable")
