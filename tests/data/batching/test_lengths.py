"""The table of lengths: written and read back, damaged, joined, indexed by shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from linnet.data import Utterance
from linnet.data.batching import Lengths, join_lengths, load_lengths, measure_lengths
from linnet.data.batching.lengths import estimated_tokens
from linnet.errors import OptionError, OutputError
from tests.support.lengths import corpora


def table(count: int = 5, about: str = "words") -> Lengths:
    return Lengths(np.arange(count, dtype=np.float32) + 0.1, np.arange(count, dtype=np.int32), about=about)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    lengths = Lengths([1.5, 2.25, 0.0], [3, 0, 1], (("ä", 1), ("b", 2)), "bpe 42")
    lengths.save(tmp_path / "lengths.npz")
    loaded = load_lengths(tmp_path / "lengths.npz")
    assert loaded.durations.tolist() == [1.5, 2.25, 0.0]
    assert loaded.tokens.tolist() == [3, 0, 1]
    assert (loaded.parts, loaded.about, loaded.digest) == (lengths.parts, lengths.about, lengths.digest)
    assert [path.name for path in tmp_path.iterdir()] == ["lengths.npz"]


def test_the_digest_tells_every_difference() -> None:
    same = [Lengths([1.0, 2.0], [3, 4]), Lengths(np.array([1.0, 2.0]), np.array([3, 4], np.int64))]
    others = [
        Lengths([2.0, 1.0], [3, 4]),
        Lengths([1.0, 2.0], [4, 3]),
        Lengths([1.0, 2.0], [3, 4], (("a", 2),)),
        Lengths([1.0, 2.0], [3, 4], about="words"),
        Lengths([1.0], [3]),
    ]
    assert len({lengths.digest for lengths in same}) == 1
    assert len({lengths.digest for lengths in [*same, *others]}) == 6


def test_damage_is_noticed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    table().save(good)
    with np.load(good) as file:
        np.savez(bad, durations=file["durations"] + 1, tokens=file["tokens"], meta=file["meta"])
    with pytest.raises(OptionError, match="does not match its digest"):
        load_lengths(bad)
    for content in (b"", b"not a zip", good.read_bytes()[:300]):
        bad.write_bytes(content)
        with pytest.raises(OptionError, match=r"bad\.npz: not a table"):
            load_lengths(bad)
    np.savez(bad, durations=np.zeros(2))
    with pytest.raises(OptionError, match="not a table"):
        load_lengths(bad)
    with pytest.raises(OptionError, match=r"gone\.npz: no such table"):
        load_lengths(tmp_path / "gone.npz")
    with pytest.raises(OutputError, match="cannot write"):
        table().save(tmp_path / "nowhere" / "lengths.npz")


@pytest.mark.parametrize(
    ("durations", "tokens", "parts", "says"),
    [
        ([1.0, 2.0], [1], (), "equal length"),
        ([[1.0]], [[1]], (), "equal length"),
        ([1.0, -2.0], [1, 1], (), "row 1 has -2.0 s"),
        ([1.0, float("nan")], [1, 1], (), "row 1"),
        ([float("inf"), 1.0], [1, 1], (), "row 0"),
        ([1.0, 2.0], [1, -1], (), "row 1 has 2.0 s and -1 tokens"),
        ([1.0, 2.0], [1, 1], (("a", 1),), "hold 1 rows, the table 2"),
        ([1.0, 2.0], [1, 1], (("a", 1), ("a", 1)), "its own name"),
    ],
)
def test_lengths_that_cannot_be(
    durations: list[float], tokens: list[int], parts: tuple[tuple[str, int], ...], says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        Lengths(durations, tokens, parts)


def test_a_manifest_is_measured() -> None:
    utterances = [Utterance("a", "three one", 1.5), Utterance("b", "", 2.0), Utterance("c", "ünf", 0.5)]
    measured = measure_lengths(utterances, lambda text: len(text.split()), "words")
    assert measured.durations.tolist() == [1.5, 2.0, 0.5]
    assert measured.tokens.tolist() == [2, 0, 1]
    assert measured.about == "words"
    guessed = measure_lengths(utterances)
    assert guessed.tokens.tolist() == [3, 0, 1] == [estimated_tokens(text) for text in ("three one", "", "ünf")]
    assert "estimated" in guessed.about
    for broken, says in (
        (Utterance("x", "a"), "'x' has no duration"),
        (Utterance("x", duration=1.0), "'x' has no text"),
    ):
        with pytest.raises(OptionError, match=says):
            measure_lengths([*utterances, broken])


@given(corpora(20), corpora(20))
def test_joined_tables_hold_their_rows_in_order(first: Lengths, second: Lengths) -> None:
    joined = join_lengths({"first": first, "second": second})
    assert joined.parts == (("first", len(first)), ("second", len(second)))
    assert joined.durations.tolist() == [*first.durations, *second.durations]
    assert joined.tokens.tolist() == [*first.tokens, *second.tokens]
    assert joined.hours == pytest.approx(first.hours + second.hours)


def test_tables_are_joined_only_where_tokens_mean_the_same() -> None:
    with pytest.raises(OptionError, match="counted differently"):
        join_lengths({"a": table(about="words"), "b": table(about="bpe")})
    with pytest.raises(OptionError, match="no table"):
        join_lengths({})
