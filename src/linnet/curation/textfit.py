"""Whether a text fits its language, by the statistics of the other texts of the pool, without a model.

Shapes: N recordings, L languages, V trigrams of a chunk of texts, H buckets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from linnet.curation.duplicates import mix
from linnet.curation.gating import Verdict
from linnet.curation.outliers import robust_scores
from linnet.curation.pool import Flags, Integers, Numbers, Pool
from linnet.curation.ragged import Ragged
from linnet.data.duplicates.texts import normalize

_BITS = 14  # bits of the hash of a trigram
_CHUNK = 2**14  # texts per batch
_LEAST_TEXTS = 30  # minimum texts of a language
_LEAST_TRIGRAMS = 12  # minimum trigrams of a text
_DOUBTFUL = -1.5  # robust standard deviations of the fit below which other languages are compared
_PRIOR = 200.0  # pseudo-counts of trigrams from all languages together
_UNKNOWN = ("und", "mul", "zxx")


@dataclass(frozen=True)
class ForeignText:
    """Recordings whose text fits another language of the pool better, by more than `limit` bits per letter.

    The probability of character trigrams is estimated from each language's other texts. Short texts, languages with
    fewer than 30 texts, and a pool of one language are not checked.
    """

    limit: float = 0.5
    name: str = field(default="foreign-text", init=False)

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """Check by the advantage of the best other language in bits per letter."""
        fits, other = language_fits(pool, usable)
        gains = other - fits
        return Verdict(gains > self.limit, gains)

    def reason(self, value: float) -> str:
        """The reason, with the value."""
        return f"its text fits another language of the corpus better, by {value:.1f} bits per letter"


def language_fits(pool: Pool, usable: Flags) -> tuple[Numbers, Numbers]:
    """Mean log2 probability of a text's trigrams in its own language and in the best other one, both [N].

    NaN if undefined, and for the other language also if its own language fits as usual.
    """
    language = pool.labels["language"]
    named = np.array([name not in _UNKNOWN for name in language.names], np.bool_)
    codes = np.where((language.codes >= 0) & np.append(named, False)[language.codes], language.codes, -1)
    held = usable & (codes >= 0)
    known = np.flatnonzero(np.bincount(codes[held], minlength=len(language.names)) >= _LEAST_TEXTS)
    fits, best = np.full(len(pool), np.nan), np.full(len(pool), np.nan)
    if len(known) < 2:
        return fits, best
    rows, trigrams = _trigrams(pool, held)
    counts = _counts(trigrams, codes[rows], len(language.names))
    logs = _logarithms(counts)
    judged = np.isin(codes[rows], known)
    for some in _chunks(judged):
        fits[rows[some]] = _own(_wide(trigrams, some), counts, codes[rows[some]])
    doubtful = robust_scores(fits[rows], codes[rows].astype(np.int64), judged) < _DOUBTFUL
    for some in _chunks(doubtful):
        mine, at = _wide(trigrams, some), rows[some]
        for code in known.tolist():
            there = np.where(codes[at] == code, np.nan, _means(mine, logs[code][mine.values]))
            best[at] = np.fmax(best[at], there)
    return fits, best


def _chunks(chosen: Flags) -> Iterator[Integers]:
    """The indices of what is chosen, some at a time."""
    places = np.flatnonzero(chosen)
    return (places[at : at + _CHUNK] for at in range(0, len(places), _CHUNK))


def _wide(trigrams: Ragged, some: Integers) -> Ragged:
    """Some rows, with numbers that can be calculated with."""
    found = trigrams.select(some)
    return found.replace(found.values.astype(np.int64))


def _counts(trigrams: Ragged, codes: NDArray[np.int32], languages: int) -> Integers:
    """The counts of trigram buckets in each language [L, H]."""
    counts = np.zeros((languages, 2**_BITS), np.int64)
    for some in _chunks(np.ones(len(trigrams), np.bool_)):
        mine = _wide(trigrams, some)
        place = codes[some].astype(np.int64)[mine.rows] * 2**_BITS + mine.values
        counts += np.bincount(place, minlength=counts.size).reshape(counts.shape)
    return counts


def _lent(counts: Integers) -> Numbers:
    """The prior of each bucket [H], with equal weight of all languages."""
    each = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    there = max(int((counts.sum(axis=1) > 0).sum()), 1)
    shares: Numbers = 0.99 * each.sum(axis=0) / there + 0.01 / counts.shape[1]
    return shares


def _logarithms(counts: Integers) -> Numbers:
    """log2 probability of each bucket in each language [L, H]."""
    totals = counts.sum(axis=1, keepdims=True)
    logs: Numbers = np.log2((counts + _PRIOR * _lent(counts)) / (totals + _PRIOR))
    return logs


def _own(trigrams: Ragged, counts: Integers, codes: NDArray[np.int32]) -> Numbers:
    """The fit of texts in their own languages, excluding themselves."""
    of_value = codes[trigrams.rows]
    mine = np.sort((trigrams.rows << _BITS) | trigrams.values)
    first = np.searchsorted(mine, (trigrams.rows << _BITS) | trigrams.values, "left")
    again = np.searchsorted(mine, (trigrams.rows << _BITS) | trigrams.values, "right") - first
    others = counts[of_value, trigrams.values] - again
    totals = counts.sum(axis=1)[of_value] - trigrams.lengths[trigrams.rows]
    probable = (others + _PRIOR * _lent(counts)[trigrams.values]) / (totals + _PRIOR)
    return _means(trigrams, np.log2(probable))


def _means(trigrams: Ragged, logs: Numbers) -> Numbers:
    """The mean of each row; NaN for a short one."""
    lengths = trigrams.lengths
    sums = trigrams.replace(logs).sums()
    return np.where(lengths >= _LEAST_TRIGRAMS, sums / np.maximum(lengths, 1), np.nan)


def _trigrams(pool: Pool, chosen: Flags) -> tuple[Integers, Ragged]:
    """The chosen rows with a text, and the hashed character trigrams of their texts, uint16."""
    rows = np.flatnonzero(chosen & np.array([text is not None for text in pool.texts], np.bool_))
    parts = [Ragged.from_lengths(np.zeros(0, np.uint16), np.zeros(0, np.int64))]
    for start in range(0, len(rows), _CHUNK):
        plain = [f" {normalize(text)} " for text in pool.texts[rows[start : start + _CHUNK]]]
        joined = "".join(plain).encode("utf-32-le", "surrogatepass")
        letters = Ragged.from_lengths(np.frombuffer(joined, np.uint32), np.array([len(one) for one in plain]))
        parts.append(_hashed(letters))
    return rows, Ragged.concatenate(parts)


def _hashed(letters: Ragged) -> Ragged:
    lengths = np.maximum(letters.lengths - 2, 0)
    starts = np.cumsum(lengths) - lengths
    first = np.repeat(letters.offsets[:-1] - starts, lengths) + np.arange(lengths.sum())
    codes = letters.values.astype(np.uint64)
    keys = (codes[first] << np.uint64(42)) | (codes[first + 1] << np.uint64(21)) | codes[first + 2]
    hashed = mix(keys, np.zeros(1, np.uint64)) >> np.uint64(64 - _BITS)
    return Ragged.from_lengths(hashed.astype(np.uint16), lengths)
