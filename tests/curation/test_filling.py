"""A pass makes the tables that are missing or of another version, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linnet.curation import shards
from linnet.curation.filling import Pass, fill_tables
from linnet.curation.shards import Plan, Shard, make_plan, read_tables, table_path
from linnet.curation.workers import WorkerOptions
from linnet.data import Utterance
from linnet.errors import OptionError

pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")
ONE = WorkerOptions(workers=1)


def lengths(shard: Shard, factor: int) -> Any:
    if factor == 0:
        raise OptionError("factor 0 is no factor")
    rows = shard.utterances()
    places = range(shard.first, shard.first + shard.rows)
    return pa.table({"row": list(places), "length": [factor * len(row.text or "") for row in rows]})


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(shards, "ROWS", 3)
    return make_plan([Utterance(f"{row}.wav", text="x" * row) for row in range(8)], tmp_path)


def test_missing_tables_are_made_and_counted(plan: Plan) -> None:
    told: list[tuple[int, int]] = []
    assert fill_tables(plan, Pass("spoken", "1"), lengths, 2, ONE, lambda *done: told.append(done)) == 0
    assert read_tables(plan, "spoken").to_pydict() == {"row": list(range(8)), "length": list(range(0, 16, 2))}
    assert told == [(1, 3), (2, 3), (3, 3)]
    table_path(plan.work, "spoken", 1).unlink()
    assert fill_tables(plan, Pass("spoken", "1"), lengths, 2, ONE) == 2
    assert fill_tables(plan, Pass("spoken", "1"), lengths, 2, ONE) == 3


def test_another_version_is_made_again_and_passes_do_not_share_tables(plan: Plan) -> None:
    fill_tables(plan, Pass("spoken", "1"), lengths, 2, ONE)
    assert fill_tables(plan, Pass("spoken", "2"), lengths, 3, ONE) == 0
    assert read_tables(plan, "spoken")["length"].to_pylist() == list(range(0, 24, 3))
    assert fill_tables(plan, Pass("scores", "2"), lengths, 3, ONE) == 0


def test_an_error_ends_the_pass_and_what_was_made_stays(plan: Plan) -> None:
    fill_tables(plan, Pass("spoken", "1"), lengths, 2, ONE)
    with pytest.raises(OptionError, match="factor 0"):
        fill_tables(plan, Pass("spoken", "2"), lengths, 0, ONE)
    assert fill_tables(plan, Pass("spoken", "1"), lengths, 2, ONE) == 3
