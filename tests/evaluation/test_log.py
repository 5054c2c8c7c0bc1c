"""The file of an evaluation survives a crash at any byte and refuses what does not belong together."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linnet.errors import OptionError, OutputError
from linnet.evaluation.log import RowLog, ScoredRow

HEADER: dict[str, Any] = {
    "model": "m",
    "revision": "1",
    "dtype": "float32",
    "options": {"beam_size": 1, "temperatures": (0.0, 0.2)},
    "normalizer": {"choice": "basic", "spelling": None},
}
SESSION = {"device": "cpu", "batch_size": 1}
ROWS = [ScoredRow(number, f"u{number}", "a.wav", "für eins", hypothesis="x", words=2) for number in range(3)]


def write(path: Path, rows: list[ScoredRow], header: dict[str, Any] = HEADER, **options: Any) -> RowLog:
    with RowLog.open(path, header, SESSION, **options) as log:
        for row in rows:
            log.add(row)
    return log


def test_a_second_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, ROWS[:2])
    log = write(path, ROWS[2:])
    assert list(log.rows.values()) == ROWS
    assert log.sessions == [SESSION, SESSION]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"linnet_evaluation": 1, **json.loads(json.dumps(HEADER))}
    assert [line["row"] for line in lines if "row" in line] == [0, 1, 2]


def test_a_row_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowLog.open(path, HEADER, SESSION) as log:
        log.add(ROWS[0])
        assert path.read_text().endswith("\n")
        assert '"id": "u0"' in path.read_text()


def test_addresses_are_written_without_their_secrets(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, [ScoredRow(0, "u0", "https://me:s3cret@host/a.wav?key=s3cret", "one")])
    assert "s3cret" not in path.read_text()
    assert "https://host/a.wav?" in path.read_text()


def test_cut_at_any_byte_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, ROWS)
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        expected = max(0, sum(end <= length for end in ends) - 2)  # without header and session
        with RowLog.open(path, HEADER, SESSION) as log:
            assert len(log.rows) == expected
            for row in ROWS[expected:]:
                log.add(row)
        assert write(path, []).rows == dict(enumerate(ROWS))


def test_failed_rows_are_done_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, [replace(ROWS[0], error="not a sound"), ROWS[1]])
    assert list(write(path, [ROWS[0]]).rows) == [1, 0]
    assert write(path, []).rows == {0: ROWS[0], 1: ROWS[1]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "other"}, r"made with another model \(m, now other\)"),
        ({"revision": "2"}, r"made with another revision \(1, now 2\)"),
        ({"options": {**HEADER["options"], "beam_size": 5}}, r"made with another beam size \(1, now 5\)"),
        ({"normalizer": {"choice": "none", "spelling": None}}, r"made with another choice \(basic, now none\)"),
    ],
)
def test_another_model_or_option_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(OptionError, match=rf"rows\.jsonl: was {said}: start over with --restart, or choose another"):
        write(path, [], {**HEADER, **change})
    assert path.read_bytes() == before
    assert write(path, ROWS[:1], {**HEADER, **change}, restart=True).rows == {0: ROWS[0]}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("content", ["my notes", "my notes\n", '{"audio": "a.wav", "text": "one"}\n', "[1]\n", "{"])
def test_a_foreign_file_is_never_touched(tmp_path: Path, content: str, restart: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    if content == "{":  # may be the first byte of a header
        assert write(path, [], restart=restart).rows == {}
        return
    with pytest.raises(OptionError, match=r"was not written by `linnet evaluate`: choose another --output"):
        write(path, [], restart=restart)
    assert path.read_text() == content


def test_a_damaged_line_is_told_and_its_utterance_done_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, ROWS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "?\n", *lines[4:]]))
    with RowLog.open(path, HEADER, SESSION) as log:
        assert list(log.rows) == [0, 2]
        assert [str(problem)[:18] for problem in log.bad] == ["line 4: not JSON ("]
        log.add(ROWS[1])
    assert write(path, []).rows == {0: ROWS[0], 2: ROWS[2], 1: ROWS[1]}
    assert write(path, ROWS[:1], restart=True).rows == {0: ROWS[0]}


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write: the folder is missing"):
        write(tmp_path / "none" / "rows.jsonl", [])
    with pytest.raises(OptionError, match="expected a file for rows, found a folder"):
        write(tmp_path, [])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110
def test_a_full_disk_is_told() -> None:
    with pytest.raises(OutputError, match="/dev/full: cannot write: the disk is full"):
        write(Path("/dev/full"), [])
