"""Work on many rows says how far it has come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linnet.evaluation import pace
from linnet.evaluation.hypotheses import read_hypotheses
from linnet.evaluation.pace import paced


def test_long_work_is_told_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    now = iter(range(10_000))
    monkeypatch.setattr(pace.time, "monotonic", lambda: float(next(now)))
    assert list(paced(range(2000), told.append, "scored", 2000)) == list(range(2000))
    assert told == ["1,280 of 2,000 rows scored"]


def test_short_work_says_nothing() -> None:
    told: list[str] = []
    assert list(paced(range(2000), told.append, "read")) == list(range(2000))
    assert told == []


def test_hypotheses_of_a_large_file_say_how_far_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "EVERY", 0.0)
    path = tmp_path / "heard.jsonl"
    path.write_text("".join(json.dumps({"id": f"u{n}", "text": "one"}) + "\n" for n in range(600)))
    told: list[str] = []
    read_hypotheses(path, notify=told.append)
    assert told == ["256 rows of hypotheses read", "512 rows of hypotheses read"]
