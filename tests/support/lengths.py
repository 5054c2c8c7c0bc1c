"""Small corpora for the tests of batching, and the checks that every plan must pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from linnet.data.batching import Lengths, Plan

WORLDS = st.integers(1, 9)


@st.composite
def corpora(draw: Any, most: int = 150) -> Lengths:
    """Lengths with ties, empty texts and any rate of speech."""
    pair = st.tuples(st.integers(1, 320), st.integers(0, 200) | st.just(0))
    pairs = draw(st.lists(pair, min_size=1, max_size=most))
    eighths, tokens = zip(*pairs, strict=True)
    return Lengths(np.array(eighths, np.float32) / 8, np.array(tokens, np.int32))


def batches_of(plan: Plan) -> list[list[int]]:
    return [plan.batch(step, rank).tolist() for step in range(plan.steps) for rank in range(plan.world)]


def check_covers(plan: Plan, rows: Any) -> None:
    """Each row once, no batch empty; rows are left out only where there is nothing to share."""
    batches = batches_of(plan)
    assert sorted([row for batch in batches for row in batch] + plan.left_out.tolist()) == sorted(rows)
    assert all(batches)
    assert len(batches) == plan.steps * plan.world
    if len(plan.left_out):
        assert len(plan.left_out) < plan.world
        assert all(len(batch) == 1 for batch in batches)
