"""Mixtures: shares by temperature in closed form, and every utterance of a source drawn as often as the others."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.batching import Lengths, Mixture, join_lengths, mix, passes_by_temperature
from linnet.errors import OptionError

HOURS = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 1e4), min_size=1)


@given(HOURS, st.floats(1, 100))
def test_shares_are_powers_of_the_hours(hours: dict[str, float], temperature: float) -> None:
    passes = passes_by_temperature(hours, temperature)
    drawn = {name: passes[name] * hours[name] for name in hours}
    assert sum(drawn.values()) == pytest.approx(sum(hours.values()))
    weights = {name: value ** (1 / temperature) for name, value in hours.items()}
    for name in hours:
        assert drawn[name] / sum(drawn.values()) == pytest.approx(weights[name] / sum(weights.values()))


@given(HOURS)
def test_temperature_one_leaves_each_source_as_it_is(hours: dict[str, float]) -> None:
    assert passes_by_temperature(hours) == pytest.approx(dict.fromkeys(hours, 1.0))


def test_no_source_is_drawn_more_often_than_allowed() -> None:
    passes = passes_by_temperature({"large": 1000.0, "small": 1.0}, temperature=5.0, most=4.0)
    assert passes["small"] == 4.0
    assert passes["large"] < 1.0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0, 4)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(0, 2**64 - 1),
)
def test_the_utterances_of_a_source_are_drawn_equally_often(
    sources: list[tuple[int, float]], epochs: int, seed: int
) -> None:
    edges = np.cumsum([0, *(count for count, _ in sources)])
    groups = [np.arange(begin, end) for begin, end in pairwise(edges)]
    mixture = Mixture(groups, [passes for _, passes in sources])
    drawn: Counter[int] = Counter()
    for epoch in range(epochs):
        drawn.update(mixture.rows(epoch, seed).tolist())
        for group, (count, passes) in zip(groups, sources, strict=True):
            times = [drawn[row] for row in group.tolist()]
            assert sum(times) == int((epoch + 1) * passes * count)
            assert max(times) - min(times) <= 1


def test_an_epoch_is_the_same_at_any_time_and_the_next_is_another() -> None:
    mixture = Mixture([np.arange(100)], [0.5])
    first, second = mixture.rows(0, 7).tolist(), mixture.rows(1, 7).tolist()
    assert first == mixture.rows(0, 7).tolist()
    assert sorted(first + second) == list(range(100))
    assert mixture.rows(0, 8).tolist() != first
    assert mixture.digest != Mixture([np.arange(100)], [0.6]).digest


def test_a_joined_table_is_mixed_by_its_parts() -> None:
    large = Lengths(np.full(90, 3600.0, np.float32), np.ones(90, np.int32))
    small = Lengths(np.full(11, 3600.0, np.float32), np.ones(11, np.int32))
    joined = join_lengths({"large": large, "small": small})
    mixture = mix(joined, np.arange(100), temperature=2.0)
    assert [len(rows) for rows in mixture.sources] == [90, 10]
    assert mixture.passes == pytest.approx([0.8333333333333334, 2.5])
    assert len(mixture.rows(0, 0)) == 100


def test_what_cannot_be_mixed() -> None:
    lengths = Lengths([1.0, 2.0], [1, 1])
    with pytest.raises(OptionError, match="which source"):
        mix(lengths, np.arange(2))
    joined = join_lengths({"a": lengths, "b": lengths})
    with pytest.raises(OptionError, match="'b' has 0"):
        mix(joined, np.arange(2))
    for temperature, most in ((0.5, 1.0), (2.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(OptionError, match="temperature"):
            passes_by_temperature({"a": 1.0}, temperature, most)
