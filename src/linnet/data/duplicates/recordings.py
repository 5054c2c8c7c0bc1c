"""Finding a recording or an excerpt of one by its fingerprint.

Shapes: S stored recordings, K stored words of all of them, T frames of the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.data.duplicates.prints import FRAMES_PER_SECOND, Fingerprint

Integers = npt.NDArray[np.int64]

_SHORT, _LONG = 0.5, 2.0  # seconds of loud audio between which the limit rises
_STRICT, _TOLERANT = 0.18, 0.30  # bit error rate allowed for short and for long matches
LEAST_FRAMES = round(0.2 * FRAMES_PER_SECOND)  # loud frames that must overlap
_COVERED = 0.5  # share of the shorter recording that must overlap
_COMMON = 256  # words stored more often are ignored
_VOTES = 2  # aligned frames needed to check a place
_PLACES = 32  # checked per query, those with most votes first


@dataclass(frozen=True)
class Sighting:
    """A stored recording found in a query: its index, and the second of the query at which it begins."""

    index: int
    start: float
    agreement: float  # share of equal bits
    covered: float  # share of the stored recording's loud frames that overlap


class RecordingIndex:
    """An index of fingerprints.

    A place is a stored recording and a time shift. Frames with equal words vote for places; at those with the most
    votes all bits are compared (Haitsma and Kalker 2002, section 5). Recordings match if at most 18 % of the bits
    differ over up to half a second, rising to 30 % at two seconds, since short excerpts are more alike by chance. At
    least half of the shorter one must overlap.
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
        """The stored recordings that overlap with a query, each once at its best place."""
        best: dict[int, Sighting] = {}
        for index, shift in self._places(other):
            for near in (shift, shift - 1, shift + 1):
                sighting = self._compare(index, near, other)
                if sighting is not None and sighting.agreement > getattr(best.get(index), "agreement", 0.0):
                    best[index] = sighting
        return sorted(best.values(), key=lambda one: -one.agreement)

    def _places(self, other: Fingerprint) -> list[tuple[int, int]]:
        """Stored recordings and the frame of the query at which they begin, by votes."""
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
        """Compare all bits of the overlap, with the stored recording's first frame at `shift` of the query."""
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
    """The loud frames and their words, with all combinations of their uncertain bits flipped: 16 per frame."""
    frames = np.flatnonzero(other.loud)
    words = other.words[frames][:, None]
    for at in range(other.uncertain.shape[1]):
        words = np.concatenate([words, words ^ other.uncertain[frames, at, None]], axis=1)
    return np.repeat(frames, words.shape[1]), words.ravel()


def allowed(seconds: float) -> float:
    """The bit error rate allowed for a match of `seconds` of loud audio."""
    part = min(1.0, max(0.0, (seconds - _SHORT) / (_LONG - _SHORT)))
    return _STRICT + part * (_TOLERANT - _STRICT)


def _ones(words: npt.NDArray[np.uint32]) -> int:
    """The number of bits that are set."""
    return int(np.bitwise_count(words).sum())
