"""Recordings of a pool that are in an evaluation set: whoever trains on them measures memory.

The evaluation set is measured by the same pass with the same codebook, so that neither is read a second time; what
looks alike can then be heard again, by fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from linnet.curation.duplicates import DuplicateOptions, likeness, text_keys
from linnet.curation.gating import Verdict
from linnet.curation.pool import Flags, Pool
from linnet.data import Utterance
from linnet.data.duplicates import DuplicateIndex
from linnet.data.duplicates import DuplicateOptions as HeardOptions
from linnet.data.duplicates.texts import TextIndex
from linnet.data.samples import UtteranceReader

Hear = Callable[[int, int], bool]
"""Takes a row of the pool and one of the evaluation set, and listens whether they are the same recording."""


@dataclass(frozen=True)
class LeakOptions:
    """What counts as a leak besides the same and nearly the same sound.

    `texts: near` drops what anybody says of the evaluation set's sentences, too: right where its sentences are its
    own, wrong where all read the same prompts. `text_threshold` is the share of common pieces of two texts. With
    `listen` sounds that are nearly the same are decoded again and compared by fingerprint, which has the last word.
    """

    texts: Literal["off", "near"] = "off"
    listen: bool = True
    text_threshold: float = 0.75
    sounds: DuplicateOptions = field(default_factory=DuplicateOptions)


class Leak:
    """The gate: recordings that are like one of an evaluation set, `held`, a pool of its own.

    `hear`, if given, has the last word on sounds that are nearly the same; see `listen`.
    """

    name = "leak"

    def __init__(self, held: Pool, options: LeakOptions | None = None, hear: Hear | None = None) -> None:
        self.held = held
        self._options = options or LeakOptions()
        self._hear = hear

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """By hash, by sketch and by text; `others` are rows of the evaluation set."""
        found: dict[int, tuple[int, float]] = {}
        for row, other, share in [*self._texts(pool, usable), *self._near(pool, usable), *self._same(pool, usable)]:
            found[row] = other, share  # the surest last
        failed = np.zeros(len(pool), np.bool_)
        values = np.full(len(pool), np.nan)
        others = np.full(len(pool), -1, np.int64)
        for row, (other, share) in found.items():
            failed[row], values[row], others[row] = True, share, other
        return Verdict(failed, values, others)

    def reason(self, value: float) -> str:
        """How alike."""
        return f"it is in an evaluation set ({value:.0%} alike)"

    def _same(self, pool: Pool, usable: Flags) -> Iterable[tuple[int, int, float]]:
        known = {self.held.hashes[at].tobytes(): at for at in np.flatnonzero(self.held.hashed).tolist()}
        for row in np.flatnonzero(usable & pool.hashed).tolist() if known else ():
            other = known.get(pool.hashes[row].tobytes())
            if other is not None:
                yield row, other, 1.0

    def _near(self, pool: Pool, usable: Flags) -> Iterable[tuple[int, int, float]]:
        options = self._options.sounds
        if not len(self.held) or pool.sketches.shape[1] != self.held.sketches.shape[1]:
            return
        mine, theirs = text_keys(pool.words), text_keys(self.held.words)
        pairs = self._candidates(pool, usable)
        shares = likeness(pool, pairs[:, 0], pairs[:, 1], self.held)
        same_text = (mine[pairs[:, 0]] == theirs[pairs[:, 1]]) & (pool.words.lengths[pairs[:, 0]] > 0)
        limits = np.where(same_text, _limit(options.near_same_text), _limit(options.near))
        for (row, other), share, limit in zip(pairs.tolist(), shares.tolist(), limits.tolist(), strict=True):
            if share >= limit and (self._hear is None or self._hear(row, other)):
                yield row, other, share

    def _candidates(self, pool: Pool, usable: Flags) -> NDArray[np.int64]:
        """Pairs of a row of the pool and one of the set with two MinHash values in common [P, 2]."""
        rows = np.flatnonzero(usable & pool.sketched)
        others = np.flatnonzero(self.held.sketched)
        found = [np.zeros(0, np.int64)]
        for at in range(pool.sketches.shape[1]):
            values = self.held.sketches[others, at]
            order = np.argsort(values, kind="stable")
            mine = pool.sketches[rows, at]
            first = np.searchsorted(values[order], mine, "left")
            counts = np.searchsorted(values[order], mine, "right") - first
            places = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            found.append(np.repeat(rows, counts) * len(self.held) + others[order[places]])
        pairs, counts = np.unique(np.concatenate(found), return_counts=True)
        pairs = pairs[counts > 1]
        return np.stack([pairs // len(self.held), pairs % len(self.held)], axis=1)

    def _texts(self, pool: Pool, usable: Flags) -> Iterable[tuple[int, int, float]]:
        if self._options.texts == "off":
            return
        index = TextIndex(list(self.held.texts), self._options.text_threshold)
        known: dict[str, tuple[int, float] | None] = {}
        for row in np.flatnonzero(usable).tolist():
            text = pool.texts[row]
            if text is None:
                continue
            if text not in known:
                found = index.find(text)
                known[text] = (found[0].index, found[0].share) if found else None
            best = known[text]
            if best is not None:
                yield row, best[0], best[1]


def listen(of_pool: Callable[[int], Utterance], of_held: Callable[[int], Utterance]) -> Hear:
    """Whether two recordings are the same by fingerprint, whatever their level, codec and beginning.

    The functions give the utterance of a row. One that cannot be read is taken for the same: what only looks alike is
    no loss, a leak is.
    """

    def hear(row: int, other: int) -> bool:
        with UtteranceReader() as reader:
            index = DuplicateIndex([of_held(other)], reader, HeardOptions(texts=False))
            found = index.find(of_pool(row))
        return bool(found) or index.held.recordings == 0 or index.passed.recordings == 0

    return hear


def _limit(share: float | None) -> float:
    return np.inf if share is None else share
