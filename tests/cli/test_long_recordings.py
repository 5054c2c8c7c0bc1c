"""`linnet transcribe` on recordings over one window: its options, what JSON counts and what is said on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.audio import load
from tests.support.calling import Call, make_call


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def parted(folder: Path, root: Path, *languages: str) -> Path:
    """Speech, 30 s of silence, speech."""
    one, other = (load(root / "examples" / f"digits-{code}.flac").samples for code in languages)
    path = folder / "talk.flac"
    soundfile.write(path, np.concatenate([one, np.zeros(30 * 16_000, np.float32), other]), 16_000)
    return path


@pytest.fixture
def talk(tmp_path: Path, root: Path) -> Path:
    return parted(tmp_path, root, "en", "de")


def test_what_was_left_out_is_counted_and_said(call: Call, tmp_path: Path, root: Path) -> None:
    """In one language: by which of two that are there as long a recording is heard is a toss-up."""
    done = call(
        "transcribe", parted(tmp_path, root, "en", "en"), "--model", "digits", "--device", "cpu", "--format", "json"
    )
    document = json.loads(done.out)
    assert document["text"] == " ".join(["three one four one five nine"] * 2)
    counts = document["counts"]
    assert set(counts) == {
        "windows",
        "fallback_windows",
        "empty_windows",
        "low_confidence_segments",
        "nonspeech_seconds",
    }
    assert counts["windows"] == 2
    assert counts["nonspeech_seconds"] == pytest.approx(30.0 + 7.9 - 6.5, abs=2)
    assert sum(document["language_probabilities"].values()) == pytest.approx(1.0)
    assert document["language_probability"] == max(document["language_probabilities"].values())
    assert {segment["low_confidence"] for segment in document["segments"]} == {False}
    assert "there is little speech: " in done.err
    assert "--no-vad includes them" in done.err


def test_options_are_environment_variables_too(call: Call, talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_LANGUAGE_PER_SEGMENT", "1")
    monkeypatch.setenv("LINNET_VAD", "0")
    done = call("transcribe", talk, "--model", "digits", "--device", "cpu", "--format", "json")
    document = json.loads(done.out)
    assert [segment["language"] for segment in document["segments"]] == ["en", "de"]
    assert document["options"]["vad"] is False
    assert document["counts"]["nonspeech_seconds"] < 30.0 + 1
    monkeypatch.setenv("LINNET_LONG_FORM", "sequential")
    done = call("transcribe", talk, "--model", "digits", "--device", "cpu", "--format", "json")
    assert json.loads(done.out)["counts"]["nonspeech_seconds"] == 0.0


def test_a_wrong_name_says_the_right_ones(call: Call, talk: Path) -> None:
    done = call("transcribe", talk, "--model", "digits", "--long-form", "chunked")
    assert done.status != 0
    assert "use batched or sequential" in done.err
