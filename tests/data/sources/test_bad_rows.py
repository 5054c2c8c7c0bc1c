"""One bad row never ends the reading of many: it is counted and shown, whatever reader meets it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnet.data.sources import open_source
from linnet.errors import LinnetError
from linnet.evaluation.hypotheses import read_hypotheses
from linnet.evaluation.log import RowLog, ScoredRow
from linnet.evaluation.rows import read_rows
from linnet.training.curves import read_log

NOT_JSON = [
    "{",
    "[" * 5000,
    '{"a": ' + "[" * 100_000,
    '{"a": ' * 900 + "1",
    "[1]",
    "5",
    "null",
    '"a"',
    "9" * 5000,
    "\x00",
]
VALUES = [
    *("1e999", "-1e999", "NaN", "Infinity", "9" * 400, "9" * 4300, "9" * 5000, "-1", "1.5", "0", "true", "null"),
    *('""', '"a\\u0000b"', '"\\ud800"', json.dumps("a" * 100_000), "[]", "[[]]", "{}", '{"a": 1}', '[{"a": 1}]'),
    *("[" * 300 + "]" * 300, "[" * 900 + "]" * 900, '{"a":' * 400 + "1" + "}" * 400),
]
CUT = {
    "id": "u",
    "start": 0,
    "duration": 1.0,
    "channel": 0,
    "supervisions": [{"text": "one", "language": "en", "speaker": "s", "start": 0.0}],
    "recording": {
        "id": "r",
        "duration": 1.0,
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
        "transforms": [{"name": "Resample"}],
    },
    "type": "MonoCut",
    "custom": {"snr": 3.0, "session": "m"},
}
NEMO = {"audio_filepath": "a.wav", "offset": 0, "duration": 1.0, "text": "one", "shard_id": 1, "channel_selector": 0}
ROWS: dict[str, dict[str, Any]] = {
    "linnet": {"audio": "a.wav", "text": "one", "duration": 1.0, "id": "u", "start": 0.5, "end": 1.0, "chunk": 0},
    "nemo": {**NEMO, "lang": "en", "speaker": "s", "snr": 1.0, "_skipme": False},
    "leaderboard": {"audio_filepath": "a.wav", "duration": 1.0, "time": 0.1, "text": "one", "pred_text": "two"},
    "lhotse": CUT,
}
HEARD = {
    "jsonl": {"id": "u", "hypothesis": "one", "seconds": 1.0, "duration": 2.0, "offset": 0.0},
    "leaderboard": ROWS["leaderboard"],
    "segments": {"source": "a.wav", "start": 0.0, "end": 1.0, "text": "one"},
}


def spoilt(row: Any, rng: random.Random) -> str:
    """The row with one of its values, at any depth, as another one."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in range(len(value)) if isinstance(value, list) else list(value):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    row = json.loads(json.dumps(row))
    walk(row)
    holder, key = rng.choice(places)
    holder[key] = "@@"
    return json.dumps(row).replace('"@@"', rng.choice(VALUES))


def many(path: Path, row: dict[str, Any], name: Callable[[int], dict[str, Any]], seed: int) -> tuple[Path, int]:
    """A file of good rows, whose number is told, with bad ones between."""
    rng = random.Random(seed)
    lines = [json.dumps({**row, **name(0)})]
    for number in range(1, 301):
        lines += [rng.choice(NOT_JSON) if rng.random() < 0.1 else spoilt(row, rng)]
        if number % 50 == 0:
            lines.append(json.dumps({**row, **name(number)}))
    path.write_text("\n".join(lines) + "\n")
    return path, 7


@pytest.mark.parametrize("kind", ROWS)
def test_a_source_goes_on_after_any_row(tmp_path: Path, kind: str) -> None:
    key = "audio_filepath" if kind == "leaderboard" else "id"
    path, good = many(tmp_path / "rows.jsonl", ROWS[kind], lambda number: {key: f"good{number}"}, seed=3)
    source = open_source(path)
    found = [utterance.id for utterance in source if utterance.id.startswith("good")]
    assert source.kind == kind
    assert len(found) == good
    assert source.report.bad > 50
    assert source.report.bad + source.report.rows + source.report.skipped == 307
    assert all(len(str(problem)) < 400 for problem in source.report.problems)


@pytest.mark.parametrize("kind", HEARD)
def test_hypotheses_go_on_after_any_row(tmp_path: Path, kind: str) -> None:
    key = {"jsonl": "id", "leaderboard": "audio_filepath", "segments": "source"}[kind]
    path, good = many(tmp_path / "heard.jsonl", HEARD[kind], lambda number: {key: f"good{number}"}, seed=4)
    found = read_hypotheses(path)
    assert found.kind == kind
    assert sum(name.startswith("good") for name in found.rows) == good
    assert found.bad.count > 50


def test_the_rows_of_an_evaluation_go_on_after_any_line(tmp_path: Path) -> None:
    """Bad lines are told; their utterances are scored again where the file is gone on with, else left out."""
    path = tmp_path / "rows.jsonl"
    header, rng = {"model": "m"}, random.Random(5)
    row = ScoredRow(1, "u1", "a.wav", "one", hypothesis="one", words=1, duration=1.0, seconds=0.1, snr=3)
    with RowLog.open(path, header, {}) as log:
        log.add(row)
    good, whole = path.read_text().splitlines(keepends=True)[-1], json.loads(path.read_text().splitlines()[-1])
    with path.open("a") as file:
        for number in range(2, 302):
            bad = rng.choice(NOT_JSON) if number % 3 else spoilt({**whole, "row": number}, rng)
            file.write(bad + "\n")
        file.write(good.replace('"row": 1', '"row": 500'))
    found = read_rows(path)
    assert {1, 500} <= {row.row for row in found.rows}
    assert all(isinstance(row.words, int) and isinstance(row.text, str) for row in found.rows)
    assert "rows cannot be used and are skipped" in found.bad[0]
    assert found.bad[1].startswith("  line 4: ")
    with RowLog.open(path, header, {}) as log:
        assert len(log.bad) > 200
        assert {1, 500} <= log.rows.keys()


@pytest.mark.parametrize("line", [*NOT_JSON, '{"step": 1e999}', '{"step": ' + "9" * 5000 + "}", '{"step": []}'])
def test_a_line_that_is_no_row_of_a_run_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(LinnetError, match="line 2: not a row of a run's log"):
        read_log(tmp_path)
