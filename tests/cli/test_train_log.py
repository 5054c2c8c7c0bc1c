"""A line that is redrawn on a terminal, JSON elsewhere; seen through a real pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from linnet.cli.train_log import events, figures, show, show_line
from tests.support.calling import make_call
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import fusion_recipe, save_bases, tone_corpus, write_recipe

ROWS: list[dict[str, Any]] = [
    {"step": 10, "steps": 40, "loss": 2.5, "audio_padding": 0.051, "tokens_per_second": 12345.6, "seconds_left": 75.4},
    {"step": 20, "steps": 40, "loss": None, "wer": 0.25, "best_wer": 0.25, "memory_gb": 31.22, "seconds_left": 60.4},
    {"step": 30, "steps": 40, "loss": 1.5, "wer": 0.5, "best_wer": 0.25, "skipped": 2, "left_out": ["a", "b"]},
]


def drawn(width: int) -> str:
    out = io.StringIO()
    show_line(ROWS, Console(file=out, force_terminal=True, width=width, legacy_windows=False))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


def test_the_line_has_the_newest_of_each_figure() -> None:
    text = drawn(140)
    assert "step 30/40" in text
    assert "loss 1.5000  WER 50.00 %  padding 5.1 %  12,346 tokens/s  31.2 GB" in text
    assert "━" in text


def test_what_is_to_be_remembered_stays_above_the_line() -> None:
    lines = [line.strip() for line in drawn(140).splitlines()]
    assert "step 20: WER 25.00 %, the best so far" in lines
    assert "step 30: WER 50.00 %" in lines
    assert "step 30: 2 steps skipped: loss not finite" in lines
    assert "step 30: skipped, cannot be read: a, b" in lines


def test_a_narrow_terminal_gets_one_line_that_is_cut() -> None:
    lines = [line for line in drawn(60).splitlines() if "loss" in line and "finite" not in line]
    assert lines
    assert all(len(line.rstrip()) <= 60 for line in lines)
    assert lines[-1].rstrip().endswith("…")


def test_figures_that_are_zero_are_shown_and_unknown_ones_not() -> None:
    assert figures({"step": 1, "wer": 0.0, "loss": None}) == "WER 0.00 %"
    assert events({"step": 1000, "out_of_memory": ["bin 3 has batches of 9 now"]}) == [
        "step 1,000: out of memory: bin 3 has batches of 9 now"
    ]


def test_elsewhere_each_row_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS)
    printed = capsys.readouterr()
    assert [json.loads(line) for line in printed.err.splitlines()] == ROWS
    assert printed.out == ""


def test_a_run_on_a_real_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("accelerate", reason="the extra `train` is not installed")
    content = fusion_recipe(save_bases(tmp_path), tone_corpus(tmp_path / "corpus", 16), tmp_path / "out")
    recipe = write_recipe(tmp_path / "recipe.yaml", content)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    ours, theirs = pty.openpty()
    seen: list[bytes] = []
    reader = threading.Thread(target=_read, args=(ours, seen))
    reader.start()
    with open(theirs, "w") as terminal, one_thread():  # noqa: PTH123  a descriptor
        monkeypatch.setattr(sys, "stderr", terminal)
        done = make_call(monkeypatch, capsys)("train", recipe)
    reader.join()
    os.close(ours)
    assert done.status == 0
    assert done.out == f"{tmp_path / 'out' / 'best'}\n"
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(seen).decode())
    assert "linnet: 16 utterances are kept" in text
    assert "step 6/6" in text
    assert "step 6: WER " in text
    assert "{" not in text


def _read(terminal: int, seen: list[bytes]) -> None:
    """All that is written to the other end, until it is closed, which Linux tells by an error."""
    with suppress(OSError):
        while data := os.read(terminal, 65536):
            seen.append(data)
