"""The same sound twice in a pool, or in a pool and an evaluation set: exactly, or nearly, by units and contour.

Shapes: N recordings, H MinHash values of each, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linnet.curation.contour import likeness as alike_contours
from linnet.curation.counting import mix as hash_keys
from linnet.curation.gating import Verdict
from linnet.curation.pool import Flags, Integers, Numbers, Pool
from linnet.curation.ragged import Ragged
from linnet.settings import SHARE, require

_BAND = 4  # values that must be equal for a look, where the texts differ
_CROWD = 64  # recordings with one key; more are compared with their neighbors among them, not all with all
_NEIGHBORS = 16  # in length, that a recording is compared with where more say the same
_STRETCH = 4 / 3  # a copy is at most so much longer
_LONG = 75  # frames; two takes of one short word are alike by chance
_ILL_FITTING = 0.05  # the share of recordings whose words fit worst

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class DuplicateOptions:
    """When two recordings are the same sound: the share of 5-grams of units that both have (Jaccard, by MinHash).

    `near` for any two, `near_same_text` for two with the same words, of which less is asked: two takes of one sentence
    share next to nothing, a copy with noise or through a codec a tenth. `near_contour` is the correlation of the
    contours of two with the same words: a copy has 0.9 or more, another take of a sentence about 0.5. Of less than
    1.5 s more is asked, as takes of a single word have up to 0.9: what may be missing to 1 shrinks with the root of
    the length.
    """

    exact: bool = True
    near: float | None = 0.5
    near_same_text: float | None = 0.07
    near_contour: float | None = 0.9

    def __post_init__(self) -> None:
        for name in ("near", "near_same_text", "near_contour"):
            if getattr(self, name) is not None:
                require(self, SHARE, name)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Recordings that are alike: `first` and `second` int64 [P], and how much, [P]."""

    first: Integers
    second: Integers
    alike: Numbers

    @classmethod
    def of(cls, edges: NDArray[np.int64], alike: Numbers) -> Pairs:
        """From pairs [P, 2]."""
        return cls(edges[:, 0], edges[:, 1], alike)

    def __len__(self) -> int:
        return len(self.first)


_NONE = Pairs.of(np.zeros((0, 2), np.int64), np.zeros(0))


@dataclass(frozen=True)
class SameSound:
    """Recordings with the same decoded samples as another kept one."""

    name = "same-sound"

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """Fail all but the best of each group of equal hashes."""
        rows = np.flatnonzero(usable & pool.hashed)
        keys = pool.hashes[rows].view(np.uint64).reshape(len(rows), 2)
        order = np.lexsort((_ranks(pool)[rows], keys[:, 1], keys[:, 0]))  # the best of each group comes first
        same = (keys[order][1:] == keys[order][:-1]).all(axis=1)
        heads = np.flatnonzero(np.concatenate([[True], ~same])[: len(order)])
        group = np.cumsum(np.concatenate([[1], ~same]))[: len(order)] - 1
        firsts = rows[order[heads]][group]
        pairs = Pairs(firsts, rows[order], np.ones(len(rows)))
        chosen = pairs.first != pairs.second
        return _keep_best(pool, Pairs(pairs.first[chosen], pairs.second[chosen], pairs.alike[chosen]))

    def reason(self, value: float) -> str:  # noqa: ARG002  a Gate's
        """There is no value."""
        return "its sound is that of another recording, sample by sample"


@dataclass(frozen=True)
class NearSound:
    """Recordings with nearly the same audio as another kept one: another codec, level, or slight noise."""

    options: DuplicateOptions = DuplicateOptions()
    name = "near-sound"

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """All that are like one that is kept; the value of others is that of the most alike with the same words."""
        contours = contour_pairs(pool, usable) if self.options.near_contour is not None else _NONE
        verdict = _keep_best(pool, near_pairs(pool, usable, self.options, contours))
        closest = np.full(len(pool), -np.inf)
        np.maximum.at(closest, np.concatenate([contours.first, contours.second]), np.tile(contours.alike, 2))
        found = ~verdict.failed & np.isfinite(closest)
        verdict.values[found] = closest[found]
        return verdict

    def reason(self, value: float) -> str:
        """How alike."""
        return f"its sound is nearly that of another recording ({value:.0%} alike)"


def near_pairs(
    pool: Pool, usable: Flags, options: DuplicateOptions | None = None, contours: Pairs | None = None
) -> Pairs:
    """The pairs of usable recordings that are alike by their sketches, `first` < `second`, or by `contours`.

    Candidates share four values side by side of their sketches, or the text and one value. Where more than 64 share a
    key, each is compared with the first and with the next of them only. `contours` are what `contour_pairs` found.
    """
    options = options or DuplicateOptions()
    texts = text_keys(pool.words)
    found: list[NDArray[np.int64]] = []
    rows = np.flatnonzero(usable & pool.sketched)
    sketches = pool.sketches[rows]
    if options.near is not None:
        found += [_verified(_same_key(keys, rows), pool, options.near) for keys in _bands(sketches)]
    if options.near_same_text is not None:
        spoken = pool.words.lengths[rows] > 0
        often = _repeated(texts[rows], spoken)
        for at in range(sketches.shape[1]):
            keys = mix(texts[rows[often]], sketches[often, at].astype(np.uint64))
            found.append(_verified(_same_key(keys, rows[often]), pool, options.near_same_text))
    edges = np.unique(np.concatenate([*found, np.zeros((0, 2), np.int64)]), axis=0)
    alike = likeness(pool, edges[:, 0], edges[:, 1])
    if contours is None or options.near_contour is None:
        return Pairs.of(edges, alike)
    frames = np.minimum(pool.contours.lengths[contours.first], pool.contours.lengths[contours.second])
    near = contours.alike >= 1 - (1 - options.near_contour) * np.sqrt(np.minimum(frames / _LONG, 1.0))
    more = np.sort(np.stack([contours.first[near], contours.second[near]], axis=1), axis=1)
    both = np.concatenate([more, edges])
    kept, first = np.unique(both, axis=0, return_index=True)  # of a pair that both found, the contour's
    return Pairs.of(kept, np.concatenate([contours.alike[near], alike])[first])


def contour_pairs(pool: Pool, usable: Flags) -> Pairs:
    """Usable recordings with the same words, of which the longer is at most a third longer, and how alike they are.

    Where more than 64 have the same words, each is compared with the next 16 in length.
    """
    lengths, texts = pool.contours.lengths, text_keys(pool.words)
    rows = np.flatnonzero(usable & (pool.words.lengths > 0) & (lengths > 0))
    rows = rows[np.lexsort((rows, lengths[rows], texts[rows]))]
    keys, size = texts[rows], lengths[rows]
    heads = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(rows)])
    counts = np.diff(np.append(heads, len(rows)))
    last = np.repeat(heads + counts, counts) - 1  # of the same words
    last = np.where(np.repeat(counts, counts) <= _CROWD, last, np.minimum(last, np.arange(len(rows)) + _NEIGHBORS))
    at, step, found = np.arange(len(rows)), 0, [np.zeros((0, 2), np.int64)]
    while len(at):
        step += 1
        at = at[at + step <= last[at]]
        at = at[size[at + step] <= _STRETCH * size[at]]
        found.append(np.stack([rows[at], rows[at + step]], axis=1))
    pairs = np.concatenate(found)
    return Pairs.of(pairs, alike_contours(pool.contours, pairs[:, 0], pairs[:, 1]))


def likeness(pool: Pool, first: Integers, second: Integers, other: Pool | None = None) -> Numbers:
    """The share of equal MinHash values of pairs [P]; `second` indexes `other`, if given."""
    theirs = pool if other is None else other
    equal = pool.sketches[first] == theirs.sketches[second]
    shares: Numbers = equal.sum(axis=1, dtype=np.float64) / max(equal.shape[1], 1)  # no column where no sound is read
    return shares


def text_keys(words: Ragged) -> Keys:
    """A 64-bit hash of the words of each recording [N] in order."""
    places = np.arange(len(words.values)) - np.repeat(words.offsets[:-1], words.lengths)
    mixed = mix(words.values.astype(np.uint64), places.astype(np.uint64))
    keys = np.zeros(len(words), np.uint64)
    filled = words.lengths > 0
    if filled.any():
        keys[filled] = np.add.reduceat(mixed, words.offsets[:-1][filled])
    return mix(keys, words.lengths.astype(np.uint64))


def _bands(sketches: NDArray[np.uint32]) -> Iterator[Keys]:
    """A key per four consecutive values."""
    for at in range(0, sketches.shape[1] - _BAND + 1, _BAND):
        keys = np.full(len(sketches), at, np.uint64)
        for column in range(at, at + _BAND):
            keys = mix(keys, sketches[:, column].astype(np.uint64))
        yield keys


def mix(left: Keys, right: Keys) -> Keys:
    """A 64-bit hash of both."""
    return hash_keys(left * np.uint64(31) + right)


def _repeated(keys: Keys, allowed: Flags) -> NDArray[np.int64]:
    """Indices of repeated keys."""
    places = np.flatnonzero(allowed)
    _, back, counts = np.unique(keys[places], return_inverse=True, return_counts=True)
    return places[counts[back] > 1]


def _same_key(keys: Keys, rows: Integers) -> NDArray[np.int64]:
    """Pairs of rows with the same key [P, 2], the smaller first."""
    order = np.lexsort((rows, keys))
    ordered, held = keys[order], rows[order]
    heads = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])
    sizes = np.diff(np.append(heads, len(ordered)))
    heads, sizes = heads[sizes > 1], sizes[sizes > 1]
    made = []
    for step in range(1, min(int(sizes.max(initial=0)), _CROWD)):
        wide = (sizes > step) & ((sizes <= _CROWD) | (step == 1))
        counts = sizes[wide] - step
        first = np.repeat(heads[wide] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        made.append(np.stack([held[first], held[first + step]], axis=1))
    crowded = sizes > _CROWD
    counts = sizes[crowded] - 1
    head = np.repeat(heads[crowded], counts)
    member = np.repeat(heads[crowded] + 1 - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    made.append(np.stack([held[head], held[member]], axis=1))
    return np.concatenate(made)


def _verified(pairs: NDArray[np.int64], pool: Pool, least: float) -> NDArray[np.int64]:
    return pairs[likeness(pool, pairs[:, 0], pairs[:, 1]) >= least]


def _keep_best(pool: Pool, pairs: Pairs) -> Verdict:
    """Fail recordings similar to a kept one, keeping the best ones first."""
    failed = np.zeros(len(pool), np.bool_)
    values = np.full(len(pool), np.nan)
    others = np.full(len(pool), -1, np.int64)
    both = np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
    ranks = _ranks(pool)
    order = np.lexsort((ranks[both[1]], ranks[both[0]]))
    alike = np.concatenate([pairs.alike, pairs.alike])[order].tolist()
    for one, other, share in zip(both[0][order].tolist(), both[1][order].tolist(), alike, strict=True):
        if not failed[one] and not failed[other] and ranks[one] < ranks[other]:
            failed[other], values[other], others[other] = True, share, one
    return Verdict(failed, values, others)


def _ranks(pool: Pool) -> Integers:
    """The place of each recording [N] among those that may be kept of copies.

    What is among the few whose words fit worst comes last, then what has more noise, in whole decibels: the copy is
    seldom the cleaner one. Of equal ones the first comes first.
    """
    nothing = np.zeros(len(pool))
    fits = np.asarray(pool.scores.get("mi", nothing + 1.0), np.float64)
    clean = np.rint(np.nan_to_num(np.asarray(pool.numbers.get("snr_db", nothing), np.float64)))
    ranks = np.empty(len(pool), np.int64)
    ranks[np.lexsort((np.arange(len(pool)), -clean, fits < _ILL_FITTING))] = np.arange(len(pool))
    return ranks
