"""Items that recordings can share, as numbers: words, pairs of phones, pairs of units, speakers.

Shapes: N recordings, V items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linnet.curation.coverage import Items
from linnet.curation.duplicates import mix
from linnet.curation.pool import Flags, Integers, Labels, Pool
from linnet.curation.ragged import Ragged
from linnet.settings import BELOW_ONE, NOT_NEGATIVE, require

_CHUNK = 2**17  # recordings per batch for finding repeated items
_MOST_BITS = 24  # bits of a hash that identifies the items of a family
_LEAST = {"words": 1, "voices": 1}  # minimum recordings with a pair; a pair in only one may be an error

Family = Callable[[Pool], Ragged]


@dataclass(frozen=True)
class CoverageOptions:
    """The weights of the families of items, and the cost of a second.

    A weight is the family's contribution to the gain of a typical first recording; 0 disables it. The gain is divided
    by seconds ** `duration_power`: 0 favors long recordings, 1 short ones. Each recording taken adds the most of all
    remaining ones, or at most the share `tolerance` less, which saves computation.
    """

    words: float = 1.0
    word_pairs: float = 0.5
    word_units: float = 1.0
    phone_pairs: float = 1.0
    unit_pairs: float = 0.5
    voices: float = 0.25
    duration_power: float = 0.5
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, *FAMILIES, "duration_power")
        require(self, BELOW_ONE, "tolerance")


def words(pool: Pool) -> Ragged:
    """The words of each recording."""
    return pool.words.replace(pool.words.values.astype(np.uint64))


def word_pairs(pool: Pool) -> Ragged:
    """Pairs of consecutive words."""
    return _joined(pool.words.pairs(), 32)


def word_units(pool: Pool) -> Ragged:
    """Each unit with the word spoken at that time, if all words were equally long."""
    units, found = pool.units, pool.words
    spoken = np.where(found.lengths > 0, units.lengths, 0)
    place = np.arange(len(units.values)) - np.repeat(units.offsets[:-1], units.lengths)
    counts = np.repeat(found.lengths, units.lengths)
    at = (2 * place + 1) * counts // (2 * np.repeat(np.maximum(units.lengths, 1), units.lengths))
    kept = counts > 0
    said = found.values[(np.repeat(found.offsets[:-1], units.lengths) + at)[kept]].astype(np.uint64)
    return Ragged.from_lengths((said << np.uint64(16)) | units.values[kept].astype(np.uint64), spoken)


def phone_pairs(pool: Pool) -> Ragged:
    """Pairs of consecutive phones, by language and backend, since backends have their own numbers."""
    pairs = _joined(pool.phones.pairs(), 16)
    language, backend = pool.labels["language"], pool.labels["backend"]
    kind = (language.codes.astype(np.int64) + 1) * (len(backend.names) + 1) + backend.codes + 1
    return pairs.replace(pairs.values | (np.repeat(kind, pairs.lengths).astype(np.uint64) << np.uint64(32)))


def unit_pairs(pool: Pool) -> Ragged:
    """Pairs of consecutive units."""
    return _joined(pool.units.pairs(), 16)


def voices(pool: Pool) -> Ragged:
    """The speaker (of a source) in the domain; none if all are missing."""
    codes = np.zeros(len(pool), np.int64)
    for name in ("speaker", "source", "domain"):
        labels = pool.labels[name]
        codes = codes * (len(labels.names) + 1) + labels.codes + 1
    known = codes > 0
    return Ragged.from_lengths(codes[known].astype(np.uint64), known.astype(np.int64))


FAMILIES: Mapping[str, Family] = {
    "words": words,
    "word_pairs": word_pairs,
    "word_units": word_units,
    "phone_pairs": phone_pairs,
    "unit_pairs": unit_pairs,
    "voices": voices,
}


def coverage_items(pool: Pool, usable: Flags, options: CoverageOptions | None = None) -> Items:
    """The items of the usable recordings, unique per recording; others have none.

    Pairs in only one recording do not count. All items of a family have the same weight: the family's weight / the mean
    number of items per usable recording.
    """
    options = options or CoverageOptions()
    parts: list[list[Ragged]] = [[] for _ in range(0, len(pool), _CHUNK)]
    weights: list[NDArray[np.float64]] = []
    first = 0
    for name in FAMILIES:
        weight = float(getattr(options, name))
        if not weight:
            continue
        found, count = _numbered(pool, name, usable, first)
        if count:
            held = sum(len(rows.values) for rows in found)
            weights.append(np.full(count, weight * int(usable.sum()) / held))
            first += count
            for chunk, rows in zip(parts, found, strict=True):
                chunk.append(rows)
    if not weights:
        return Items.none(len(pool))
    return Items(_beside(parts), np.concatenate(weights))


def same_text(keys: NDArray[np.uint64], long_enough: Flags) -> Labels:
    """A label for each text [N] shared by several recordings; none for short texts."""
    codes = np.full(len(keys), -1, np.int32)
    _, back, counts = np.unique(keys[long_enough], return_inverse=True, return_counts=True)
    codes[long_enough] = np.where(counts[back] > 1, back, -1)
    return Labels(codes, ("",) * len(counts))


def _joined(pairs: Ragged, bits: int) -> Ragged:
    values = pairs.values.astype(np.uint64)
    return pairs.replace((values[:, 0] << np.uint64(bits)) | values[:, 1])


def _numbered(pool: Pool, name: str, usable: Flags, first: int) -> tuple[list[Ragged], int]:
    """The items of a family numbered from `first`, the most common first, unique per row, and their number."""
    held: list[Ragged] = []
    bits = min(_MOST_BITS, len(pool.units.values).bit_length() + 4)
    counts = np.zeros(2**bits, np.int64)
    for start in range(0, len(pool), _CHUNK):  # all pairs at once would exceed the memory
        rows = _of_usable(pool, FAMILIES[name], usable, start)
        pairs = np.sort((rows.rows << bits) | _hashed(rows.values, bits))
        pairs = pairs[np.concatenate([[True], pairs[1:] != pairs[:-1]])[: len(pairs)]]  # faster than np.unique
        items = (pairs & (2**bits - 1)).astype(np.int32)
        np.add.at(counts, items, 1)
        held.append(Ragged.from_lengths(items, np.bincount(pairs >> bits, minlength=len(rows))))
    kept = np.flatnonzero(counts >= _LEAST.get(name, 2))
    numbers = np.full(len(counts), -1, np.int32)
    numbers[kept[np.argsort(-counts[kept], kind="stable")]] = np.arange(first, first + len(kept), dtype=np.int32)
    for at, rows in enumerate(held):
        found = numbers[rows.values]
        held[at] = Ragged.from_lengths(found[found >= 0], rows.replace(found >= 0).sums())
    return held, len(kept)


def _hashed(keys: NDArray[np.uint64], bits: int) -> Integers:
    """The upper bits of a hash; of a million different keys, at most one in thirty collides."""
    hashed: Integers = (mix(keys, np.zeros(1, np.uint64)) >> np.uint64(64 - bits)).astype(np.int64)
    return hashed


def _of_usable(pool: Pool, family: Family, usable: Flags, start: int) -> Ragged:
    """The items of the usable recordings, none for others."""
    chosen = usable[start : start + _CHUNK]
    found = family(pool.part(start, min(start + _CHUNK, len(pool))))
    return Ragged.from_lengths(found.values[np.repeat(chosen, found.lengths)], np.where(chosen, found.lengths, 0))


def _beside(chunks: list[list[Ragged]]) -> Ragged:
    """Rows with the values of all parts of their chunk; chunks are emptied on the way to save memory."""
    lengths = np.concatenate([np.sum([part.lengths for part in parts], axis=0) for parts in chunks])
    whole = Ragged.from_lengths(np.empty(int(lengths.sum()), np.int32), lengths)
    row = 0
    for parts in chunks:
        starts = whole.offsets[row : row + len(parts[0])].copy()
        row += len(parts[0])
        while parts:
            part = parts.pop(0)
            places = np.repeat(starts - part.offsets[:-1], part.lengths) + np.arange(len(part.values))
            whole.values[places] = part.values
            starts += part.lengths
    return whole
