"""HEEP's own estimators, by the paper's equations and defaults, for `estimators: paper`.

They are kept for comparison. Their defects: `acoustic_entropy` only measures duration, `conditional_entropy` is near
zero for any text, and both word entropies grow with the number of words.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linnet.curation.counting import group
from linnet.curation.entropy import plug_in
from linnet.curation.markov import Sequences
from linnet.curation.ragged import Ragged

Floats = NDArray[np.float64]

BINS: Final = 64
_ADDED: Final = 0.01


def acoustic_entropy(frames: NDArray[Any]) -> Floats:
    """The entropy of MFCCs in 64 bins between quantiles of the same recording, [N], from its number of frames alone.

    Frames differ, so all 64 bins have equal counts: regardless of the audio, the entropy is that of 64 nearly equal
    parts. NaN for a recording without frames.
    """
    kinds, inverse = np.unique(frames.astype(np.int64), return_inverse=True)
    counts = [_even(int(one)) for one in kinds]
    return plug_in(Ragged.from_lists(counts, np.int64))[inverse]


def _even(frames: int) -> NDArray[np.int64]:
    """The number of distinct values between consecutive ones of 65 quantiles; the largest value is in the last bin."""
    if frames < 1:
        return np.zeros(0, np.int64)
    bins = np.minimum(np.arange(frames) * BINS // max(frames - 1, 1), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    return counts[counts > 0]


def conditional_entropy(rows: Sequences, kinds: NDArray[np.int64]) -> Floats:
    """H(phone | previous) of each row [N] from its own counts plus 0.01, for `kinds` [N] phones; NaN without any."""
    found = rows.bigrams
    first = found.keys.values >> np.uint64(rows.bits)
    contexts = group(found.keys.replace(first), found.counts.values)
    begins = np.ones(len(first), np.bool_)
    begins[1:] = first[1:] != first[:-1]
    begins[found.keys.offsets[:-1][found.keys.lengths > 0]] = True
    inside = np.cumsum(begins) - 1
    many = kinds[contexts.counts.rows].astype(np.float64)
    n_c = contexts.counts.values.astype(np.float64)
    total = n_c + _ADDED * many
    seen = (found.counts.values + _ADDED) / total[inside]
    unseen = _ADDED / total
    met = np.bincount(inside, minlength=len(n_c))
    terms = np.bincount(inside, -seen * np.log2(seen), len(n_c))
    entropy = terms - np.maximum(many - met, 0.0) * unseen * np.log2(unseen)
    totals = contexts.counts.sums().astype(np.float64)
    sums = contexts.counts.replace(n_c * entropy).sums()
    return np.where(totals > 0, sums / np.maximum(totals, 1.0), np.nan)


def word_entropy(rows: Sequences) -> Floats:
    """H_unigram + H_bigram of the words of each row, [N]; a row of one word has no bigrams."""
    unigram: Floats = plug_in(rows.unigrams.counts)
    return unigram + np.nan_to_num(plug_in(rows.bigrams.counts))
