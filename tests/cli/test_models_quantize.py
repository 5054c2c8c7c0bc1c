"""`linnet models quantize`, and what `models info` and `models rm` know of converted copies."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.audio.types import SAMPLE_RATE
from linnet.engines.openvino.copies import find_copies, model_key
from tests.support.calling import Call, make_call
from tests.support.hub_cache import add_to_cache, linnet, model_files, write_files
from tests.support.tiny_whispers import save_whisper


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("model"), seed=1, layers=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own; the folder of its copies."""
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture
def call(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def write_manifest(folder: Path, count: int = 18, text: str | None = "one two three") -> Path:
    """Bursts of noise of 0.5 to 2 s, one of them missing, with a text that nobody says."""
    folder.mkdir(exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for index in range(count):
        noise = rng.normal(0, 0.1, (index % 4 + 1) * SAMPLE_RATE // 2)
        soundfile.write(folder / f"{index}.wav", noise.astype(np.float32), SAMPLE_RATE)
        row = {"audio": f"{index}.wav", "language": "en"}
        rows.append(row if text is None else {**row, "text": text})
    (folder / "0.wav").unlink()
    path = folder / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_a_model_is_quantized_used_and_removed(model: Path, tmp_path: Path, cache: Path, call: Call) -> None:
    manifest = write_manifest(tmp_path / "noise")
    done = call("models", "quantize", model, manifest, "--windows", "8", "--max-loss", "1000")
    assert done.status == 0, done.err
    head, errors, times = (line.split() for line in done.out.splitlines())
    assert head == ["int8", "w8a8"]
    assert (errors[:3], errors[-5:]) == (["word", "error", "rate"], ["24", "words", "in", "8", "clips"])
    assert times[-1:] + times[:3] == ["fast", "encoding", "a", "window"]
    assert "0.wav" in done.err  # could not be read, and is told
    kept = next(path for path in cache.iterdir() if "-w8a8-" in path.name)
    assert f"kept in {kept}: use it with --compute-type w8a8\n" in done.err
    sound = tmp_path / "noise" / "1.wav"
    used = call("transcribe", sound, "--model", model, "--compute-type", "w8a8", "--engine", "openvino")
    assert used.status == 0
    assert "converting" not in used.err
    told = call("models", "info", model).out.splitlines()[-1].split()
    assert (told[0], told[1][:5], told[4][:5]) == ("converted", "int8-", "w8a8-")
    listed = json.loads(call("models", "info", model, "--json").out)["converted"]
    assert [Path(copy["folder"]) for copy in listed] == sorted(cache.iterdir())
    refused = call("models", "rm", model)
    assert (refused.status, len(list(cache.iterdir()))) == (1, 2)
    assert "is your own folder" in refused.err
    removed = call("models", "rm", "--converted", model)
    assert removed.out.startswith(f"removed 2 converted copies of {model}: ")
    assert list(cache.iterdir()) == []
    missing = call("transcribe", sound, "--model", model, "--compute-type", "w8a8")
    assert missing.status == 1
    assert f"is not quantized yet: compute type w8a8 needs  `linnet models quantize {model} AUDIO`" in missing.err


def test_what_loses_too_much_is_not_kept(model: Path, root: Path, cache: Path, call: Call) -> None:
    """A random model writes other words at once; real digits without texts are cut into windows where speech is."""
    done = call("models", "quantize", model, root / "examples", "--windows", "8", "--max-loss", "0")
    assert done.status == 1
    assert "words that differ       0.00 %" in done.out
    assert "is not kept: it costs" in done.err
    assert "a manifest with texts distinguishes errors from mere differences" in done.err
    assert ["int8" in path.name for path in cache.iterdir()] == [True]


def test_too_little_audio(model: Path, tmp_path: Path, cache: Path, call: Call) -> None:
    done = call("models", "quantize", model, write_manifest(tmp_path / "few", 9), "--windows", "8")
    assert done.status == 1
    assert "0.wav" in done.err
    assert "too little audio: 8 clips (windows of speech, or utterances with a text) of 9 recordings; at" in done.err
    silence = call("models", "quantize", model, write_manifest(tmp_path / "noise", 3, text=None))
    assert silence.status == 1
    assert "1.wav: skipped, no speech was found in it" in silence.err
    assert "too little audio: 0 clips" in silence.err
    (tmp_path / "none.jsonl").write_text("")
    assert "0 clips" in call("models", "quantize", model, tmp_path / "none.jsonl").err


def test_a_cache_that_cannot_be_written(model: Path, tmp_path: Path, cache: Path, call: Call) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    done = call("models", "quantize", model, write_manifest(tmp_path / "noise"), "--windows", "8")
    assert (done.status, done.out) == (1, "")
    assert f"the converted model cannot be kept in {cache} (" in done.err.splitlines()[-1]


def test_nothing_is_begun_with_what_is_wrong(tmp_path: Path, cache: Path, call: Call) -> None:
    (tmp_path / "empty").mkdir()
    assert "no audio in this folder" in call("models", "quantize", "digits", tmp_path / "empty").err
    assert "no such file or folder" in call("models", "quantize", "digits", tmp_path / "a.wav").err
    assert "cannot read the manifest" in call("models", "quantize", "digits", tmp_path / "a.jsonl").err
    ctc = write_files(tmp_path / "ctc", model_files())
    wrong = call("models", "quantize", ctc, write_manifest(tmp_path / "noise"))
    assert (wrong.status, wrong.out) == (1, "")
    assert "cannot be quantized: only Whisper-family models can" in wrong.err
    assert not cache.exists()


def test_without_nncf(model: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    done = call("models", "quantize", model, write_manifest(tmp_path / "noise"))
    assert done.status == 1
    assert "NNCF cannot be used (" in done.err
    assert "pip install nncf" in done.err


def test_rm_takes_the_converted_copies_of_every_state(tmp_path: Path) -> None:
    hub, home = tmp_path / "hub", tmp_path / "cache"
    files = model_files("WhisperForConditionalGeneration", "whisper")
    states = [add_to_cache(hub, "acme/tiny", files)]
    states.append(add_to_cache(hub, "acme/tiny", {**files, "config.json": files["config.json"] + b" "}, "f" * 40))
    keys = {model_key(state) for state in states}
    assert len(keys) == 2
    for key in (*keys, "0" * 16):
        write_files(home / "openvino" / f"{key}-int8-bf16-01234567", {"encoder.bin": b"x" * 1000})
    only = linnet("models", "rm", "--converted", "acme/none", cache=hub, LINNET_CACHE=str(home))
    assert only.stdout == "removed 0 converted copies of acme/none: 0 B freed\n"
    done = linnet("models", "rm", "acme/tiny", cache=hub, LINNET_CACHE=str(home))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "removed acme/tiny: 6.4 kB freed (2.0 kB of them in 2 converted copies)\n"
    assert [path.name[:16] for path in (home / "openvino").iterdir()] == ["0" * 16]
    assert not list(hub.glob("models--*"))


def test_a_copy_is_of_one_state_of_the_files(model: Path, cache: Path) -> None:
    write_files(cache / f"{model_key(model)}-f32-f32-01234567", {"encoder.bin": b"x"})
    assert [copy.precision for copy in find_copies(model)] == ["f32-f32"]
    files = {**model_files(), "model.safetensors.index.json": b"{"}
    files.pop("model.safetensors")
    assert find_copies(write_files(cache.parent / "damaged", files)) == []
