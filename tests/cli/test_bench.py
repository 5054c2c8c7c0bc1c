"""`linnet bench` with the embedded model, for real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import linnet
from tests.support.calling import Call, make_call

DIGITS = ("--model", "digits", "--device", "cpu", "--offline")


@pytest.fixture(scope="module", autouse=True)
def _converted() -> None:
    """The embedded model, converted where the libraries are loaded already; each setting has a process of its own."""
    linnet.load("digits", engine="openvino", compute_type="f32", device="cpu")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def test_the_table_names_the_fastest_and_why_one_is_missing(call: Call) -> None:
    arguments = ("--engine", "openvino", "--compute-type", "f32,float16", "--batch-size", "2", "--threads", "1")
    done = call("bench", *DIGITS, "--seconds", "20", *arguments)
    assert done.status == 0, done.err
    head, names, first, second, last = done.out.splitlines()
    assert head.startswith("digits on ")
    assert head.endswith("1 threads: synthetic audio, 2 windows of 10 s with 30 tokens each")
    assert names.split() == ["engine", "compute", "type", "batch", "RTFx", "load", "(s)", "memory", "(MB)"]
    engine, kind, batch, rtfx, load, memory = first.split()
    assert (engine, kind, batch) == ("openvino", "f32", "2")
    assert min(float(rtfx), float(load), float(memory)) > 0
    assert second.split()[:3] == ["openvino", "float16", "2"]
    assert "compute type float16 needs the torch engine" in second
    options = "--engine openvino --compute-type f32 --batch-size 2 --threads 1"
    assert last == f"fastest: {options} (RTFx {rtfx})"


def test_a_recording_as_json(call: Call, root: Path) -> None:
    sound = root / "examples" / "digits-en.flac"
    done = call(
        "bench", sound, *DIGITS, "--engine", "openvino", "--compute-type", "f32", "--batch-size", 1, "--format", "json"
    )
    assert done.status == 0, done.err
    data = json.loads(done.out)
    assert data["model"] == "digits"
    assert data["audio"] == {"name": str(sound), "seconds": pytest.approx(3, abs=3), "tokens_of_each_window": None}
    (one,) = data["settings"]
    assert (one["engine"], one["compute_type"], one["batch_size"], one["reason"]) == ("openvino", "f32", 1, None)
    measured = one["measured"]
    assert measured["audio_seconds"] == pytest.approx(data["audio"]["seconds"], abs=0.01)
    assert measured["rtfx"] == pytest.approx(measured["audio_seconds"] / measured["work_seconds"])
    assert measured["engine_name"] == "openvino cpu f32"
    assert data["fastest"] == {
        "options": "--engine openvino --compute-type f32 --batch-size 1",
        "rtfx": measured["rtfx"],
    }


def test_a_setting_that_takes_too_long_is_ended(call: Call) -> None:
    done = call(
        "bench",
        *(*DIGITS, "--engine", "openvino", "--compute-type", "f32", "--batch-size", 1, "--threads", 1),
        *("--seconds", 20_000, "--time-limit", 1),
    )
    assert done.status == 1
    assert "it took more than 1 s" in done.out
    assert "fastest" not in done.out
    assert done.err.splitlines()[-1] == (
        "linnet: no setting of digits could be measured: openvino f32, batch 1: it took more than 1 s"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "onnx"), "linnet: engine 'onnx' is unknown: use auto, torch or openvino"),
        (("--batch-size", "1,many"), "linnet: batch size must be a number, or several separated by commas"),
        (("--format", "yaml"), "linnet: format 'yaml' is unknown: use table or json"),
        (("nothing.wav",), "linnet: nothing.wav: "),
    ],
)
def test_bad_options_are_told_before_anything_runs(call: Call, arguments: tuple[str, ...], message: str) -> None:
    done = call("bench", *arguments, *DIGITS)
    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(message)
