"""Surprise at bigrams and conditional entropy, against the definitions with dictionaries."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import log2

import numpy as np
import pytest

from linnet.curation.markov import BigramCounts, BigramModel, ConditionalEntropy, Sequences
from linnet.curation.ragged import Ragged

K = 8.0


def corpus(seed=0, rows=14, kinds=6):
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, kinds, rng.integers(0, 9)).tolist() for _ in range(rows)]
    return [*lists, [], [3]], rng.integers(0, 3, rows + 2)


def counted(sequences, groups):
    counts = BigramCounts()
    counts.add(sequences, groups)
    return counts


def twin(rows, at, p_before=None):
    """p of each symbol of row `at`, given all the other rows; the first symbol's is that of the symbol alone."""
    others = [row for index, row in enumerate(rows) if index != at]
    symbols = Counter(symbol for row in others for symbol in row)
    pairs = Counter(pair for row in others for pair in pairwise(row))
    contexts = Counter(symbol for row in others for symbol in row[:-1])
    types = len({symbol for row in rows for symbol in row})
    alone = [(symbols[one] + 0.5) / (symbols.total() + 0.5 * (types + 1)) for one in rows[at]]
    before = alone if p_before is None else p_before
    following = [
        (pairs[pair] + K * back) / (contexts[pair[0]] + K)
        for pair, back in zip(pairwise(rows[at]), before[1:], strict=True)
    ]
    return alone[:1] + following


def in_group(lists, groups, at):
    """The rows of the group of row `at`, and the place of that row among them."""
    members = [index for index in range(len(lists)) if groups[index] == groups[at]]
    return [lists[index] for index in members], members.index(at)


@pytest.mark.parametrize("bits", [16, 32])
def test_surprise_is_that_of_the_other_rows(bits):
    lists, groups = corpus()
    rows = Sequences(Ragged.from_lists(lists, np.uint32), bits)
    model = BigramModel.of(counted(rows, groups), 3, bits)
    expected = [-log2(p) for at in range(len(lists)) for p in twin(*in_group(lists, groups, at))]
    assert model.surprisal(rows, groups) == pytest.approx(expected, abs=1e-12)


def test_a_group_falls_back_on_all_groups():
    lists, groups = corpus(1)
    rows = Sequences(Ragged.from_lists(lists, np.uint16))
    parent = BigramModel.of(counted(rows, np.zeros_like(groups)), 1)
    model = BigramModel.of(counted(rows, groups), 3, parent=parent)
    expected = [
        -log2(p) for at in range(len(lists)) for p in twin(*in_group(lists, groups, at), p_before=twin(lists, at))
    ]
    assert model.surprisal(rows, groups) == pytest.approx(expected, abs=1e-12)


def test_counts_of_shards_are_those_of_the_whole():
    lists, groups = corpus(2, rows=40)
    whole = counted(Sequences(Ragged.from_lists(lists, np.uint16)), groups)
    merged = BigramCounts()
    for shard in (slice(30, None), slice(0, 7), slice(7, 30)):
        merged.merge(counted(Sequences(Ragged.from_lists(lists[shard], np.uint16)), groups[shard]))
    for name in ("unigrams", "bigrams", "contexts"):
        one, other = getattr(whole, name).counts, getattr(merged, name).counts
        assert (one.keys.tolist(), one.counts.tolist()) == (other.keys.tolist(), other.counts.tolist())


def entropy_twin(rows, row):
    symbols = Counter(symbol for one in rows for symbol in one)
    pairs = Counter(pair for one in rows for pair in pairwise(one))
    contexts = Counter(symbol for one in rows for symbol in one[:-1])
    own = Counter(pairwise(row))
    n = Counter(row[:-1])
    total = 0.0
    for context, times in n.items():
        for symbol in symbols:
            alone = (symbols[symbol] + 0.5) / (symbols.total() + 0.5 * len(symbols))
            q = (pairs[context, symbol] + K * alone) / (contexts[context] + K)
            p = (own[context, symbol] + K * q) / (times + K)
            total -= times * p * log2(p)
    return total / n.total()


def test_conditional_entropy_is_its_definition_over_all_symbols():
    lists, groups = corpus(3, rows=25)
    rows = Sequences(Ragged.from_lists(lists, np.uint16))
    measured = ConditionalEntropy.of(BigramModel.of(counted(rows, groups), 3)).measure(rows, groups)
    for at, row in enumerate(lists):
        members, _ = in_group(lists, groups, at)
        if len(row) < 2:
            assert np.isnan(measured[at])
        else:
            assert measured[at] == pytest.approx(entropy_twin(members, row), abs=1e-10)


def test_an_empty_corpus():
    rows = Sequences(Ragged.from_lists([[], []], np.uint16))
    groups = np.zeros(2, np.int64)
    model = BigramModel.of(counted(rows, groups), 1)
    assert model.surprisal(rows, groups).tolist() == []
    assert np.isnan(ConditionalEntropy.of(model).measure(rows, groups)).all()
