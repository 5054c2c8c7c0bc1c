"""The same numbers of NumPy arrays and of PyTorch tensors: PyTorch's own functions in float64 are the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from linnet.arrays import namespace, on_cpu, to_numpy
from linnet.decoding.greedy import likeliest
from linnet.decoding.logits import best, logsumexp, softmax
from linnet.decoding.rules import Suppress, TimestampRules

Floats = NDArray[np.float32]
NUMBERS = st.one_of(st.floats(-60, 60, width=32), st.just(float("-inf")))
LOGITS = arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(2, 40)), elements=NUMBERS)
KINDS = pytest.mark.parametrize("like", [np.asarray, torch.as_tensor])


@KINDS
@given(logits=LOGITS)
def test_sums_and_probabilities(like: Callable[[Any], Any], logits: Floats) -> None:
    exact = torch.from_numpy(logits).double()
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        found = to_numpy(logsumexp(like(logits)))
    np.testing.assert_allclose(found, exact.logsumexp(-1).numpy(), rtol=1e-5, atol=1e-5)
    rows = np.isfinite(logits).any(-1)  # a row that forbids everything has no probabilities
    np.testing.assert_allclose(to_numpy(softmax(like(logits[rows]))), exact[rows].softmax(-1).numpy(), atol=1e-12)


@KINDS
@given(logits=LOGITS, data=st.data())
def test_the_best_are_those_of_a_sort(like: Callable[[Any], Any], logits: Floats, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, logits.shape[1]))
    values, indices = best(like(logits), count)
    assert values == np.sort(logits)[:, ::-1][:, :count].tolist()
    for row, own, where in zip(logits, values, indices, strict=True):
        assert len(set(where)) == count
        assert row[where].tolist() == own


@KINDS
@given(logits=LOGITS)
def test_the_likeliest_is_the_first_of_the_largest(like: Callable[[Any], Any], logits: Floats) -> None:
    found = likeliest(like(logits))
    assert type(found) is type(like(logits))
    assert found.tolist() == [row.tolist().index(row.max()) for row in logits]


@given(
    logits=arrays(np.float32, (3, 30), elements=st.floats(-9, 9, width=32)),
    rows=st.lists(st.lists(st.integers(0, 29), max_size=5), min_size=3, max_size=3),
)
def test_rules_forbid_the_same_of_both(logits: Floats, rows: list[list[int]]) -> None:
    length = min(map(len, rows))
    rows = [row[:length] for row in rows]  # of one batch: as many tokens each
    for rule in (Suppress([3, 7]), TimestampRules(begin=20, end_of_text=18, max_initial_index=4)):
        one, other = logits.copy(), torch.from_numpy(logits.copy())
        rule(one, rows)
        rule(other, rows)
        assert np.array_equal(one, other.numpy())


def test_what_stands_for_each_kind() -> None:
    assert namespace(np.zeros(1)) is np
    assert namespace(torch.zeros(1)).__name__ == "array_api_compat.torch"
    assert on_cpu(np.zeros(1))
    assert on_cpu(torch.zeros(1))
    assert not on_cpu(torch.zeros(1, device="meta"))
    assert to_numpy(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]
