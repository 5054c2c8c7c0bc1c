"""Blocks: which are chosen, and what they add up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from linnet.errors import OptionError
from linnet.evaluation.log import ScoredRow
from linnet.scoring.clusters import ResamplingClusters, Unit, choose_clusters


def rows(**columns: list[Any]) -> list[Any]:
    return [
        SimpleNamespace(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)
    ]


@pytest.mark.parametrize(
    ("columns", "unit", "count"),
    [
        ({"speaker": ["a", "b", "a"], "session": ["x", "y", "z"]}, "speakers", 2),
        ({"speaker": ["a", "b", None], "session": ["x", "y", "y"]}, "sessions", 2),
        ({"speaker": ["a", "a", "a"], "session": ["x", "y", "y"]}, "sessions", 2),
        ({"speaker": [None] * 3, "recording": ["r", "s", "s"]}, "recordings", 2),
        ({"audio": ["r", "s", "s"]}, "recordings", 2),
        ({"audio": ["r", "s", "t"]}, "utterances", 3),
        ({"audio": ["r", "r", "r"]}, "utterances", 3),
        ({"speaker": ["a", "a", "a"]}, "utterances", 3),
    ],
)
def test_the_first_that_all_rows_name_is_taken(columns: dict[str, list[Any]], unit: Unit, count: int) -> None:
    found = choose_clusters(rows(**columns))
    assert (found.unit, found.count) == (unit, count)


def test_scored_rows_are_rows() -> None:
    found = choose_clusters([ScoredRow(n, str(n), f"{n}.wav", "a", speaker=f"s{n % 3}") for n in range(7)])
    assert (found.unit, found.index.tolist()) == ("speakers", [0, 1, 2, 0, 1, 2, 0])


def test_one_may_be_asked_for() -> None:
    both = rows(speaker=["a", "b"], session=["x", "y"])
    assert choose_clusters(both, "sessions").unit == "sessions"
    assert choose_clusters(both, "utterances").unit == "utterances"
    with pytest.raises(OptionError, match="clusters by recordings need a recording for each row, and at least two"):
        choose_clusters(both, "recordings")
    with pytest.raises(OptionError, match="'dogs' are unknown: use speakers, sessions, recordings, utterances"):
        choose_clusters(both, "dogs")  # type: ignore[arg-type]


def test_sums_and_parts() -> None:
    clusters = ResamplingClusters.of("speakers", ["anna", "ben", "anna", "cy"])
    assert clusters.sums(np.array([1.0, 2.0, 4.0, 8.0])).tolist() == [5, 2, 8]
    part = clusters.among([1, 3])
    assert (part.count, part.sums([1, 2]).tolist()) == (2, [1, 2])


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"speaker": ["a", "a", "a"]}, "only one speaker is known"),
        ({"speaker": [None] * 3, "session": ["x", "x", "x"]}, "only one session is known"),
        ({"speaker": ["a", "b", None]}, "not every utterance names its speaker"),
        ({"speaker": [None] * 3, "audio": ["r", "r", "r"]}, "only one recording is known"),
        ({"speaker": [None] * 3, "audio": ["r", "s", "t"]}, "no speaker, session or recording is known"),
        ({"audio": ["r"]}, "no speaker, session or recording is known"),
    ],
)
def test_why_utterances_are_taken_is_said_as_it_is(columns: dict[str, list[Any]], why: str) -> None:
    found = choose_clusters(rows(**columns))
    assert (found.unit, found.why) == ("utterances", why)
    assert found.among([0]).why == why
