"""HEEP's own forms, against their definitions written out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import log2

import numpy as np
import pytest

from linnet.curation.markov import Sequences
from linnet.curation.paper import acoustic_entropy, conditional_entropy, word_entropy
from linnet.curation.ragged import Ragged

ROWS = [[0, 1, 0, 1, 2], [3, 3, 3], [1], [], [0, 1, 2, 3, 0, 2]]


def entropy(counts):
    return -sum(n / sum(counts) * log2(n / sum(counts)) for n in counts)


def test_acoustic_entropy_is_that_of_quantile_bins_of_any_values():
    rng = np.random.default_rng(0)
    lengths = np.array([1, 2, 40, 64, 65, 100, 777, 3000, 0])
    found = acoustic_entropy(lengths)
    for length, bits in zip(lengths[1:-1], found[1:-1], strict=True):
        values = rng.normal(size=length)
        edges = np.quantile(values, np.linspace(0, 1, 65))
        counts = np.bincount(np.clip(np.searchsorted(edges, values, side="right") - 1, 0, 63))
        assert bits == pytest.approx(entropy(counts[counts > 0]), abs=0.05)  # a value on an edge goes either way
    assert found[0] == 0.0
    assert np.isnan(found[-1])


def test_conditional_entropy_adds_a_hundredth_to_each_cell():
    kinds = 6
    found = conditional_entropy(Sequences(Ragged.from_lists(ROWS, np.uint16)), np.full(len(ROWS), kinds))
    for row, bits in zip(ROWS, found, strict=True):
        if len(row) < 2:
            assert np.isnan(bits)
            continue
        pairs, contexts = Counter(pairwise(row)), Counter(row[:-1])
        expected = 0.0
        for context, times in contexts.items():
            chances = [(pairs[context, phone] + 0.01) / (times + 0.01 * kinds) for phone in range(kinds)]
            expected -= times / contexts.total() * sum(p * log2(p) for p in chances)
        assert bits == pytest.approx(expected, abs=1e-12)


def test_word_entropy_is_of_words_and_of_their_pairs():
    found = word_entropy(Sequences(Ragged.from_lists(ROWS, np.uint32), 32))
    for row, bits in zip(ROWS, found, strict=True):
        if not row:
            assert np.isnan(bits)
            continue
        pairs = list(Counter(pairwise(row)).values())
        assert bits == pytest.approx(entropy(list(Counter(row).values())) + (entropy(pairs) if pairs else 0.0))
