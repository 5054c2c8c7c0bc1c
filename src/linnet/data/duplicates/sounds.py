"""Finding a recording among many, or a stretch of it, by its fingerprint.

Shapes: S stored sounds, K stored words of all of them, T frames of the one that is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.data.duplicates.prints import FRAMES_PER_SECOND, Fingerprint

Integers = npt.NDArray[np.int64]

_SHORT, _LONG = 0.5, 2.0  # seconds of loud sound between which the limit rises
_STRICT, _TOLERANT = 0.18, 0.30  # share of bits that may differ over a short and over a long stretch
LEAST_FRAMES = round(0.2 * FRAMES_PER_SECOND)  # loud ones that must be compared
_COVERED = 0.5  # share of the shorter of the two sounds that must be compared
_COMMON = 256  # a word that is stored more often says nothing
_VOTES = 2  # frames in line before a place is looked at
_PLACES = 32  # looked at for one sound, those with most votes first


@dataclass(frozen=True)
class Sighting:
    """A stored sound in another one: which, at what second of the other it begins, how alike, how much of it."""

    index: int
    start: float
    agreement: float  # share of equal bits
    covered: float  # share of the stored sound's loud frames that were compared


class SoundIndex:
    """Fingerprints that others are looked up in.

    A place is a stored sound and a shift in time. Frames with equal words vote for places; at those with the most votes
    all bits of both are compared (Haitsma and Kalker 2002, section 5). Two sounds match where at most 18 % of the bits
    differ over up to half a second, and at most 30 % over two seconds or more: the shorter a stretch, the more alike it
    is to others by chance. At least half of the shorter of the two must have been compared.
    """

    def __init__(self, prints: Sequence[Fingerprint]) -> None:
        self._prints = [one.to_store() for one in prints]
        loud = [np.flatnonzero(one.loud) for one in self._prints]
        words = [one.words[frames] for one, frames in zip(self._prints, loud, strict=True)]
        owners = np.repeat(np.arange(len(loud), dtype=np.int32), [len(frames) for frames in loud])
        self._words = np.concatenate([*words, np.zeros(0, np.uint32)])
        order = np.argsort(self._words, kind="stable")
        self._words = self._words[order]
        self._owners = owners[order]
        self._frames = np.concatenate([*loud, np.zeros(0, np.int64)]).astype(np.int32)[order]

    def find(self, other: Fingerprint) -> list[Sighting]:
        """The stored sounds that are in another one, or that it is in, each once at its best place."""
        best: dict[int, Sighting] = {}
        for index, shift in self._places(other):
            for near in (shift, shift - 1, shift + 1):
                sighting = self._compare(index, near, other)
                if sighting is not None and sighting.agreement > getattr(best.get(index), "agreement", 0.0):
                    best[index] = sighting
        return sorted(best.values(), key=lambda one: -one.agreement)

    def _places(self, other: Fingerprint) -> list[tuple[int, int]]:
        """Stored sounds and the frame of the other one that is their first, by votes."""
        frames, words = _spellings(other)
        first = np.searchsorted(self._words, words, "left")
        counts = np.searchsorted(self._words, words, "right") - first
        counts[counts > _COMMON] = 0
        if not counts.any():
            return []
        hits = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        shifts = np.repeat(frames, counts) - self._frames[hits]
        span = len(other) + int(self._frames.max()) + 1
        places, votes = np.unique(self._owners[hits].astype(np.int64) * 2 * span + shifts + span, return_counts=True)
        chosen = np.argsort(-votes, kind="stable")[:_PLACES]
        chosen = chosen[votes[chosen] >= _VOTES]
        return [(int(place // (2 * span)), int(place % (2 * span)) - span) for place in places[chosen]]

    def _compare(self, index: int, shift: int, other: Fingerprint) -> Sighting | None:
        """All bits where the two overlap, with the stored one's first frame at `shift` of the other."""
        stored = self._prints[index]
        begin, end = max(0, -shift), min(len(stored), len(other) - shift)
        if end <= begin:
            return None
        mine, theirs = slice(begin, end), slice(begin + shift, end + shift)
        counted = stored.loud[mine] & other.loud[theirs]
        frames = int(counted.sum())
        shorter = min(int(stored.loud.sum()), int(other.loud.sum()))
        if frames < max(LEAST_FRAMES, _COVERED * shorter):
            return None
        wrong = _ones(stored.words[mine][counted] ^ other.words[theirs][counted])
        share = wrong / (32 * frames)
        if share > allowed(frames / FRAMES_PER_SECOND):
            return None
        return Sighting(index, shift / FRAMES_PER_SECOND, 1.0 - share, frames / int(stored.loud.sum()))


def _spellings(other: Fingerprint) -> tuple[Integers, npt.NDArray[np.uint32]]:
    """The loud frames and their words, each also with any of its uncertain bits the other way round: 16 of a frame."""
    frames = np.flatnonzero(other.loud)
    words = other.words[frames][:, None]
    for at in range(other.uncertain.shape[1]):
        words = np.concatenate([words, words ^ other.uncertain[frames, at, None]], axis=1)
    return np.repeat(frames, words.shape[1]), words.ravel()


def allowed(seconds: float) -> float:
    """The share of bits that may differ over so many seconds of loud sound."""
    part = min(1.0, max(0.0, (seconds - _SHORT) / (_LONG - _SHORT)))
    return _STRICT + part * (_TOLERANT - _STRICT)


def _ones(words: npt.NDArray[np.uint32]) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(words).sum())
