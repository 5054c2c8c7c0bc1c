"""Rows of unequal length against plain lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.curation.ragged import Ragged

LISTS = st.lists(st.lists(st.integers(0, 60_000), max_size=6), max_size=8)


@settings(deadline=None, max_examples=60)
@given(LISTS, st.randoms(use_true_random=False))
def test_every_operation_is_that_of_the_lists(lists, random):
    rows = Ragged.from_lists(lists, np.uint16)
    assert [row.tolist() for row in rows] == lists
    assert rows.lengths.tolist() == [len(one) for one in lists]
    assert rows.rows.tolist() == [at for at, one in enumerate(lists) for _ in one]
    assert rows.sums().tolist() == [sum(one) for one in lists]
    assert rows.sums(np.full(len(rows.values), 0.5)).tolist() == [sum(one) / 2 for one in lists]
    assert [row.tolist() for row in rows.pairs()] == [[list(pair) for pair in pairwise(one)] for one in lists]
    chosen = [random.randrange(len(lists)) for _ in lists]
    assert [row.tolist() for row in rows.select(chosen)] == [lists[at] for at in chosen]
    mask = np.array([len(one) % 2 == 0 for one in lists], bool)
    assert [row.tolist() for row in rows.select(mask)] == [one for one in lists if len(one) % 2 == 0]
    assert [row.tolist() for row in Ragged.concatenate([rows, rows.select(chosen)])] == (
        lists + [lists[at] for at in chosen]
    )


@settings(deadline=None, max_examples=20)
@given(LISTS)
def test_arrow_and_back(lists):
    pa = pytest.importorskip("pyarrow")
    column = Ragged.from_lists(lists, np.uint16).to_arrow()
    assert column.type == pa.list_(pa.uint16())
    assert column.to_pylist() == lists
    chunked = pa.chunked_array([column, pa.array([None, [7]], pa.list_(pa.uint16())), column[1:]], column.type)
    assert [row.tolist() for row in Ragged.from_arrow(chunked)] == [*lists, [], [7], *lists[1:]]


def test_small_integers_do_not_wrap_around():
    rows = Ragged.from_lists([[60_000, 60_000]], np.uint16)
    assert rows.sums().tolist() == [120_000]
    assert rows.sums(np.array([60_000, 1], np.uint16)).tolist() == [60_000 * 60_001]


def test_a_row_sums_to_the_same_bits_in_any_company():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 3000, 50)
    rows = Ragged.from_lengths(rng.normal(size=lengths.sum()), lengths)
    alone = [rows.select([at]).sums()[0] for at in range(len(rows))]
    assert rows.sums().tolist() == alone


def test_a_row_that_is_not_there():
    rows = Ragged.from_lists([[1]], np.int64)
    assert rows[-1].tolist() == [1]
    with pytest.raises(IndexError, match="row 1 of 1"):
        rows[1]
