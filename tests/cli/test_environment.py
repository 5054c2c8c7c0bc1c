"""Options as environment variables: one variable never means two things."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from linnet.cli import build_app
from tests.support.calling import Call, make_call


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def options(command: Any, verb: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from options(inner, (*verb, name))
    for one in command.params:
        if getattr(one, "envvar", None) is not None:
            yield verb, one


def test_a_variable_says_the_same_to_every_verb() -> None:
    said: dict[str, dict[Any, list[str]]] = defaultdict(lambda: defaultdict(list))
    for verb, one in options(typer.main.get_command(build_app())):
        said[one.envvar][one.opts[0], one.metavar, one.multiple].append(" ".join(verb))
    assert {name: dict(kinds) for name, kinds in said.items() if len(kinds) > 1} == {}
    assert {"LINNET_OUTPUT", "LINNET_FORMAT", "LINNET_SEED", "LINNET_TRAIN_PLOT_OUTPUT"} <= set(said)
    assert [*said["LINNET_OUTPUT"].values()] == [*said["LINNET_FORMAT"].values()] == [["transcribe"]]


@pytest.fixture
def everyday(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody who transcribes sets."""
    settings = {"OUTPUT": "out", "FORMAT": "srt", "SEED": "3", "ENGINE": "torch", "BATCH_SIZE": "4"}
    for name, value in settings.items():
        monkeypatch.setenv(f"LINNET_{name}", value)


@pytest.mark.usefixtures("everyday")
def test_bench_has_variables_of_its_own(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "engine 'onnx' is unknown" in call("bench", "--engine", "onnx").err
    monkeypatch.setenv("LINNET_BENCH_FORMAT", "yaml")
    assert "format 'yaml' is unknown: use table or json" in call("bench", "--engine", "onnx").err


@pytest.mark.usefixtures("everyday")
def test_a_picture_is_not_written_over_the_folder_of_transcripts(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
    assert call("train", "plot", tmp_path).out == f"{tmp_path / 'curves.png'}\n"
    monkeypatch.setenv("LINNET_TRAIN_PLOT_OUTPUT", str(tmp_path / "mine.svg"))
    assert call("train", "plot", tmp_path).out == f"{tmp_path / 'mine.svg'}\n"


@pytest.mark.usefixtures("everyday")
def test_a_seed_of_sampling_is_none_of_the_bootstrap(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_SEED", "not a number")
    assert "a.jsonl alone cannot be compared" in call("evaluate", "compare", "a.jsonl").err
