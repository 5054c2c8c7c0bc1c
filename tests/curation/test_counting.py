"""Counts within rows and over a corpus, against `collections.Counter`."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.curation.counting import Counts, Tally, group, mix, pack
from linnet.curation.ragged import Ragged

ROWS = st.lists(
    st.lists(st.tuples(st.sampled_from([0, 1, 5, 2**40, 2**63]), st.integers(0, 9)), max_size=7), max_size=6
)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_grouping_counts_each_row(rows):
    values = Ragged.from_lists([[key for key, _ in row] for row in rows], np.uint64)
    weights = np.array([weight for row in rows for _, weight in row], np.int64)
    found = group(values, weights)
    own: list[int] = []
    for at, row in enumerate(rows):
        expected: Counter[int] = Counter()
        for key, weight in row:
            expected[key] += weight
        assert dict(zip(found.keys[at].tolist(), found.counts[at].tolist(), strict=True)) == dict(expected)
        assert found.keys[at].tolist() == sorted(expected)
        own += [expected[key] for key, _ in row]
    assert found.own.tolist() == own


@settings(deadline=None, max_examples=60)
@given(ROWS, st.randoms(use_true_random=False))
def test_any_sharding_gives_the_same_counts(rows, random):
    flat = [pair for row in rows for pair in row]
    whole = Counts.of(np.array([key for key, _ in flat], np.uint64), np.array([weight for _, weight in flat], np.int64))
    expected: Counter[int] = Counter()
    for key, weight in flat:
        expected[key] += weight
    assert dict(zip(whole.keys.tolist(), whole.counts.tolist(), strict=True)) == dict(expected)
    tally, shards = Tally(), list(rows)
    random.shuffle(shards)
    for shard in shards:
        tally.add(np.array([key for key, _ in shard], np.uint64), np.array([weight for _, weight in shard], np.int64))
    assert tally.counts.keys.tolist() == whole.keys.tolist()
    assert tally.counts.counts.tolist() == whole.counts.tolist()


def test_a_tally_adds_up_on_the_way_and_forgets_nothing():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 1 << 40, 600_000).astype(np.uint64) % np.uint64(400_000)
    tally = Tally()
    for part in np.array_split(keys, 7):
        tally.add(part)
    whole = Counts.of(keys)
    assert np.array_equal(tally.counts.keys, whole.keys)
    assert np.array_equal(tally.counts.counts, whole.counts)
    assert whole.lookup(np.array([400_001, int(keys[0])])).tolist() == [0, int((keys == keys[0]).sum())]


def test_an_empty_corpus_holds_nothing():
    assert Counts.merge([]).lookup(np.array([1, 2])).tolist() == [0, 0]
    assert len(Tally().counts) == 0


def test_packed_keys_and_hashes():
    assert pack((np.array([3]), 12), (np.array([1]), 16), (np.array([2]), 16)).tolist() == [(3 << 32) + (1 << 16) + 2]
    assert mix(np.array([0, 1, 2])).tolist() == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1, 0x975835DE1C9756CE]  # Java's
    assert len(set(mix(np.arange(1000), 32).tolist())) == 1000
