"""`linnet transcribe` with a real (random) model: bad input, damaged models, and runs that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import linnet
from tests.support.calling import Call, make_call
from tests.support.tiny_whispers import save_whisper

LAUNCH = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from linnet.cli import main; main()"
QUICK = ("--device", "cpu", "--temperature", "0", "--no-timestamps", "--max-new-tokens", "4", "--language", "en")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted here, where the libraries are loaded already: the processes of these tests then need none of them."""
    folder = save_whisper(tmp_path_factory.mktemp("model"), seed=3, layers=1)
    linnet.load(str(folder), device="cpu")
    return folder


def noise(path: Path, seconds: float = 0.5) -> Path:
    samples = np.random.default_rng(0).normal(0, 0.1, round(16_000 * seconds))
    soundfile.write(path, samples, 16_000, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def start(*arguments: object, code: str = LAUNCH) -> subprocess.Popen[str]:
    """The command in a process of its own, on one core."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def test_bad_sounds_are_named_and_the_good_one_is_written(tmp_path: Path, model: Path) -> None:
    """`python -m linnet transcribe` as a person starts it."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no sound at all\n" * 100)
    soundfile.write(folder / "nan.wav", np.full(8000, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
    noise(folder / "truncated.flac", 1.0)
    (folder / "truncated.flac").write_bytes((folder / "truncated.flac").read_bytes()[:300])
    noise(folder / "good.wav")
    arguments = ("transcribe", folder, "missing.wav", "--model", model, "--output", tmp_path / "out", *QUICK)
    done = subprocess.run(
        [sys.executable, "-m", "linnet", *map(str, arguments), "--format", "txt,json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("linnet: ")]
    for name in ("empty.wav", "text.wav", "nan.wav", "none.wav", "missing.wav"):
        assert [line for line in said if name in line], f"nothing is said of {name}:\n{done.stderr}"
    assert "linnet: missing.wav: there is no such file or folder; check the path" in said
    assert "good" in {path.stem for path in (tmp_path / "out").glob("*.txt")}
    assert not {"empty", "text", "nan", "none"} & {path.stem for path in (tmp_path / "out").glob("*.txt")}
    document = json.loads((tmp_path / "out" / "good.json").read_text())
    assert document["model"] == str(model)
    assert document["options"]["temperatures"] == [0.0]
    assert document["versions"].keys() >= {"linnet", "torch", "transformers"}
    assert "failed" in done.stderr.splitlines()[-1]


def test_an_unknown_language(call: Call, tmp_path: Path, model: Path) -> None:
    done = call("transcribe", noise(tmp_path / "a.wav"), "--model", model, "--device", "cpu", "--language", "klingon")
    assert (done.status, done.out) == (1, "")
    assert "linnet: language 'klingon' is unknown to this model" in done.err
    assert "It knows de, en, es, fr, it" in done.err


def test_a_model_without_tokenizer(call: Call, tmp_path: Path, model: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "tokenizer.json").unlink()
    done = call("transcribe", noise(tmp_path / "a.wav"), "--model", broken, "--device", "cpu")
    assert (done.status, done.out) == (1, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("linnet: ")
    assert str(broken) in last
    assert "copy tokenizer.json from the model that this one is derived from" in last


def test_damaged_weights(call: Call, tmp_path: Path, model: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = call("transcribe", noise(tmp_path / "a.wav"), "--model", broken, "--device", "cpu")
    assert (done.status, done.out) == (1, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("linnet: ")
    assert str(broken) in last
    assert "safetensors" in last or "weights" in last


def test_an_unknown_model(call: Call, tmp_path: Path) -> None:
    done = call("transcribe", noise(tmp_path / "a.wav"), "--model", "no-such-model", "--device", "cpu")
    assert done.status == 1
    assert "linnet: no model 'no-such-model'" in done.err


def test_stdin_and_stdout(call: Call, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = noise(tmp_path / "a.wav")
    with path.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        piped = call("transcribe", "-", "--model", model, *QUICK)
    named = call("transcribe", path, "--model", model, *QUICK)
    assert (piped.status, named.status) == (0, 0)
    assert piped.out == named.out
    assert "linnet: stdin: 0.5 s of audio" in piped.err
    assert "linnet: compute type: f32 (" in piped.err  # a small model on OpenVINO, the default on a CPU


def test_the_former_dtype_says_what_it_is_called_now(call: Call, tmp_path: Path, model: Path) -> None:
    path = noise(tmp_path / "a.wav")
    done = call("transcribe", path, "--model", model, "--dtype", "float32", *QUICK)
    assert done.status == 0
    assert "linnet: dtype is deprecated: use --engine torch --compute-type float32\n" in done.err
    now = call("transcribe", path, "--model", model, "--engine", "torch", "--compute-type", "float32", *QUICK)
    assert (now.out, "deprecated" in now.err) == (done.out, False)


def test_evaluate(call: Call, tmp_path: Path, model: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"audio": "a.wav", "text": "one two", "language": "en"}\n')
    chosen = [one for one in QUICK if one not in ("--language", "en")]
    done = call("evaluate", manifest, "--model", model, *chosen, "--json")
    assert done.status == 0
    data = json.loads(done.out)
    assert (data["utterances"], data["audio_seconds"]) == (1, 0.5)
    assert data["sessions"][0]["engine"] == "openvino cpu f32"  # the default on a CPU


COUNT = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Half seconds of noise."""
    (tmp_path / "in").mkdir()
    first = noise(tmp_path / "in" / "00.wav")
    for number in range(1, COUNT):
        shutil.copy(first, tmp_path / "in" / f"{number:02d}.wav")
    return tmp_path / "in"


def _finished(stderr: Iterator[str]) -> Iterator[str]:
    for line in stderr:
        event = json.loads(line)
        if event["event"] == "finished":
            yield event["file"]


def _whole(output: Path) -> dict[str, tuple[int, int]]:
    """Files of results, each whole, with their time of change and inode."""
    for path in output.glob("*.json"):
        assert json.loads(path.read_text())["duration"] == 0.5
    return {
        path.name: (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in output.iterdir()
        if path.suffix in (".txt", ".json") and not path.name.startswith(".")
    }


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_is_finished_by_the_next(
    call: Call, tmp_path: Path, folder: Path, model: Path, how: signal.Signals
) -> None:
    output = tmp_path / "out"
    arguments = ("transcribe", folder, "--model", model, *QUICK, "--output", output, "--format", "txt,json")
    with start(*arguments, "--progress", "json") as process:
        assert process.stderr is not None
        done = {Path(next(_finished(process.stderr))).stem for _ in range(2)}
        process.send_signal(how)
        rest = process.stderr.read()
        assert process.wait(60) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert "run again with --skip-existing to resume" in rest
        assert f"of {COUNT} done" in rest
    before = _whole(output)
    assert {f"{stem}.{kind}" for stem in done for kind in ("txt", "json")} <= before.keys()
    assert len(before) < 2 * COUNT
    again = call(*arguments, "--skip-existing")
    assert again.status == 0
    after = _whole(output)
    assert len(after) == 2 * COUNT
    sealed = {name for name, stamp in before.items() if after[name] == stamp}
    assert {f"{stem}.{kind}" for stem in done for kind in ("txt", "json")} <= sealed
    assert len(before) - len(sealed) <= 2  # of the one recording that was being written
    assert "skipped" in again.err.splitlines()[-1]


def _can_mount(folder: Path) -> bool:
    """Whether this user may mount a small disk, in a name space of its own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def test_a_disk_that_fills_up(tmp_path: Path, model: Path) -> None:
    """A real disk of four blocks: the first recording takes two and needs a third for a moment."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _can_mount(disk):
        pytest.skip("this user may not mount a small disk (unshare -rm)")
    sounds = [noise(tmp_path / f"{name}.wav") for name in "abc"]
    script = (
        'mount -t tmpfs -o size=16k tmpfs "$1"; shift; "$@"; status=$?; ls -A1 "$OUT"; cat "$OUT/a.json"; exit $status'
    )
    command = [sys.executable, "-m", "linnet", "transcribe", *map(str, sounds), "--model", str(model), *QUICK]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), *command, "--output", str(disk), "--format", "json"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OUT": str(disk)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert "cannot write: the disk is full; free some space or choose another --output" in done.stderr
    assert "linnet: stopped, the disk is full: 1 not begun; free space, then resume with --skip-existing" in done.stderr
    assert "Traceback" not in done.stderr
    files, _, document = done.stdout.partition("{")
    assert {"a.json", ".a.linnet"} <= set(files.split())
    assert ".tmp" not in files
    assert json.loads("{" + document)["duration"] == 0.5


def test_no_weights_are_read_where_nothing_is_to_be_heard(
    tmp_path: Path, model: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, out = noise(tmp_path / "a.wav"), tmp_path / "out"
    run = ("transcribe", str(sound), "--model", str(model), "--output", str(out), "--skip-existing", *QUICK)
    assert call(*run).status == 0

    def read(*_: object) -> None:
        raise AssertionError("the weights are read")

    monkeypatch.setattr("linnet.transcription.recognizer.load_backend", read)
    assert call(*run).status == 0
    (tmp_path / "b.wav").write_text("no sound\n")
    done = call("transcribe", str(tmp_path / "b.wav"), "--model", str(model), *QUICK)
    assert (done.status, "is text, not audio" in done.err) == (1, True)
    with pytest.raises(AssertionError, match="the weights are read"):
        call("transcribe", str(noise(tmp_path / "c.wav")), "--model", str(model), *QUICK)


def test_a_recording_is_transcribed_without_importing_pytorch(call: Call, tmp_path: Path, model: Path) -> None:
    sound = noise(tmp_path / "a.wav", 1.0)
    assert call("transcribe", sound, "--model", model, "--device", "cpu", "--engine", "openvino", *QUICK).status == 0
    code = """
import sys
sys.argv[0] = "linnet"
from linnet.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code
heavy = {"torch", "transformers", "array_api_compat", "huggingface_hub.file_download"} & set(sys.modules)
print("imported:", *sorted(heavy), file=sys.stderr)
"""
    arguments = ("transcribe", sound, "--model", model, "--device", "auto", "--engine", "openvino", *QUICK)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "imported:\n" in done.stderr
