"""A corpus in shards: fixed by the order of rows, whole or not there, done where the key is right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from linnet.curation.shards import (
    ROWS,
    absolute,
    key_of,
    make_plan,
    read_tables,
    table_key,
    table_path,
    write_table,
)
from linnet.data import Utterance
from linnet.errors import MissingExtra, OptionError, OutputError

pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")


def corpus(count: int) -> list[Utterance]:
    return [Utterance(f"{row}.wav", text=f"ün \ud800 {row}", start=0.5, end=1.5, domain="d") for row in range(count)]


def test_rows_come_back_from_their_shards(tmp_path: Path) -> None:
    rows = corpus(2 * ROWS + 3)
    plan = make_plan(iter(rows), tmp_path / "work")
    assert [(one.index, one.first, one.rows) for one in plan.shards] == [
        (0, 0, ROWS),
        (1, ROWS, ROWS),
        (2, 2 * ROWS, 3),
    ]
    assert list(plan.utterances()) == rows
    assert plan.shards[1].utterances() == rows[ROWS : 2 * ROWS]
    assert plan.at_home(ROWS + 1) == plan.shards[1].at_home(rows[ROWS + 1])
    assert plan.at_home(2 * ROWS + 2).audio == str(Path(f"{2 * ROWS + 2}.wav").absolute())
    assert plan.rows == len(rows)


def test_a_shard_keeps_its_hash_while_its_rows_stay(tmp_path: Path) -> None:
    one = make_plan(corpus(ROWS + 1), tmp_path)
    other = make_plan([*corpus(ROWS), Utterance("new.wav")], tmp_path)
    assert one.shards[0].digest == other.shards[0].digest
    assert one.shards[1].digest != other.shards[1].digest
    assert one.digest != other.digest


def test_tables_of_shards_that_are_no_more_are_removed(tmp_path: Path) -> None:
    make_plan(corpus(ROWS + 1), tmp_path)
    for index in (0, 1):
        write_table(table_path(tmp_path, "measured", index), pa.table({"row": [index]}), "k")
    plan = make_plan(corpus(ROWS), tmp_path)
    assert not table_path(tmp_path, "measured", 1).exists()
    assert read_tables(plan, "measured")["row"].to_pylist() == [0]


def test_a_table_has_a_key_and_equal_tables_have_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path in paths:
        write_table(path, pa.table({"row": [1, 2], "text": ["a", None]}), "right")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert table_key(paths[0]) == "right"
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    assert table_key(paths[0]) is None
    assert table_key(tmp_path / "none.parquet") is None
    with pytest.raises(OutputError, match="folder is missing"):
        write_table(tmp_path / "none" / "a.parquet", pa.table({"row": [1]}), "k")


def test_columns_of_all_shards_in_order_and_what_is_missing(tmp_path: Path) -> None:
    plan = make_plan(corpus(ROWS + 1), tmp_path)
    for index in (1, 0):
        write_table(table_path(tmp_path, "scores", index), pa.table({"row": [index], "x": [0.5]}), "k")
    assert read_tables(plan, "scores", ["row"]).to_pydict() == {"row": [0, 1]}
    table_path(tmp_path, "scores", 1).unlink()
    with pytest.raises(OptionError, match=r"scores-00001\.parquet: cannot be read .*run the pass again"):
        read_tables(plan, "scores")


def test_a_corpus_needs_rows(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="holds no utterances"):
        make_plan([], tmp_path)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        make_plan(corpus(1), tmp_path / "file")


def test_a_relative_recording_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shard = make_plan(corpus(1), Path("work")).shards[0]
    monkeypatch.chdir("/")
    (row,) = shard.utterances()
    assert row.audio == "0.wav"
    assert shard.at_home(row).audio == str(tmp_path / "0.wav")
    assert absolute("t.parquet::audio/1", "/d") == "/d/t.parquet::audio/1"
    assert absolute("/a.wav", "/d") == "/a.wav"


def test_keys_know_where_parts_end() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("a", b"b") == key_of(b"a", "b")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"linnet\[curate\]"):
        table_key(tmp_path / "a.parquet")
