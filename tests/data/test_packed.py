"""Utterances packed into bytes are the utterances that they were."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.data import Utterance
from linnet.data.packed import PackedUtterances

numbers = st.none() | st.floats(0, 1e5, allow_nan=False)
words = st.none() | st.text(st.characters(exclude_categories=()), max_size=20)  # file names hold lone surrogates
utterances = st.builds(
    Utterance,
    audio=st.text(min_size=1, max_size=20),
    text=words,
    duration=numbers,
    language=words,
    id=st.text(max_size=9),
    start=numbers,
    channel=st.none() | st.integers(0, 9),
    hypothesis=words,
)


@given(st.lists(utterances, max_size=8))
def test_each_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, given: list[Utterance]) -> None:
    packed = PackedUtterances.of(given)
    assert list(packed) == given
    assert packed[1:] == given[1:]
    folder = tmp_path_factory.mktemp("packed")
    packed.save(folder)
    again = PackedUtterances.load(folder)
    assert [again[row] for row in range(-len(given), 0)] == given
    with pytest.raises(IndexError):
        again[len(given)]


def test_a_line_costs_its_bytes(tmp_path: Path) -> None:
    packed = PackedUtterances.of([Utterance(f"{number}.wav", "one two three", 1.0) for number in range(1000)])
    packed.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100 * 1000
