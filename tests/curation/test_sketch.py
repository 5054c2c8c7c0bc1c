"""Sketches estimate the Jaccard similarity of sets of 5-grams."""

from __future__ import annotations

import numpy as np
import pytest

from linnet.curation.sketch import GRAM, SIZE, likeness, sketch


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    sets = [{tuple(units[at : at + GRAM]) for at in range(len(units) - GRAM + 1)} for units in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_equal_values_are_as_many_as_the_jaccard_similarity_says() -> None:
    generator = np.random.default_rng(0)
    errors = []
    for share in np.linspace(0, 1, 40):
        one, other = generator.integers(0, 256, (2, 300)).astype(np.uint16)
        other[: int(share * 300)] = one[: int(share * 300)]
        errors.append(likeness(sketch(one), sketch(other)) - jaccard(one, other))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.07  # the binomial's is at most 0.0625


def test_order_matters_and_the_beginning_does_not() -> None:
    units = np.random.default_rng(1).permutation(256).astype(np.uint16)
    assert likeness(sketch(units), sketch(units[::-1])) == 0.0
    assert likeness(sketch(units), sketch(np.concatenate([units[-3:], units]))) > 0.9


@pytest.mark.parametrize(("count", "size"), [(0, 0), (1, SIZE), (4, SIZE), (5, SIZE), (6, SIZE)])
def test_short_sequences(count: int, size: int) -> None:
    units = np.arange(count, dtype=np.uint16)
    assert sketch(units).shape == (size,)
    assert likeness(sketch(units), sketch(units)) == (1.0 if count else 0.0)


def test_a_sketch_is_the_same_on_every_machine() -> None:
    assert sketch(np.arange(20, dtype=np.uint16))[:3].tolist() == [459754267, 3461503, 60433712]
