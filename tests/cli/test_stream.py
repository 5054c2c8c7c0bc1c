"""`linnet stream` with the embedded model, for real."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import linnet
from linnet.audio import load
from linnet.streaming.events import Final, Partial, Vad
from tests.streaming.test_sources import DEVICES, fake_sounddevice
from tests.support.calling import Call, make_call

DIGITS = ("--model", "digits", "--device", "cpu", "--offline", "--language", "en", "--engine", "torch", "--quiet")
TEXT = "three one four one five nine"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


@pytest.fixture
def clip(root: Path) -> Path:
    return root / "examples" / "digits-en.flac"


def test_a_recording_becomes_a_line_of_text(call: Call, clip: Path) -> None:
    done = call("stream", clip, *DIGITS)
    assert (done.status, done.out) == (0, TEXT + "\n")


def test_a_damaged_recording_is_reported_as_for_transcribe(call: Call, clip: Path, tmp_path: Path) -> None:
    samples = load(clip).samples.copy()
    samples[20_000:20_010] = np.nan
    path = tmp_path / "cut.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    path.write_bytes(path.read_bytes()[:-8000])
    said = []
    for verb in ("stream", "transcribe"):
        done = call(verb, path, *DIGITS[:-1])
        said.append([line for line in done.err.splitlines() if str(path) in line and "RTFx" not in line])
        assert done.out.split() == TEXT.split()
    assert said[0] == said[1]
    assert len(said[0]) == 2
    assert "10 of " in said[0][0]
    assert "the header promises 4.7 s" in said[0][1]


def test_settings_of_other_sources_in_the_environment_do_no_harm(
    call: Call, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINNET_STREAM_RATE", "48000")
    monkeypatch.setenv("LINNET_MIC_DEVICE", "2")
    assert call("stream", clip, *DIGITS).out == TEXT + "\n"


def test_statistics_are_printed_also_if_quiet(call: Call, clip: Path) -> None:
    assert "4.7 s of audio, 6 words" in call("stream", clip, *DIGITS, "--stats").err


def test_events_as_lines_of_json(call: Call, clip: Path) -> None:
    done = call("stream", clip, *DIGITS, "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[0]["type"] == "ready"
    assert [row["type"] for row in rows[-2:]] == ["stats", "bye"]
    numbers = [row["seq"] for row in rows]  # a partial that was not fetched in time is missing
    assert numbers == sorted(set(numbers))
    finals = [row for row in rows if row["type"] == "final"]
    assert "".join(row["text"] for row in finals).strip() == TEXT
    ends = [word["end"] for row in finals for word in row["words"]]
    assert ends == sorted(ends)
    assert rows[-1]["time"] == pytest.approx(load(clip).duration, abs=0.001)


def test_raw_samples_on_stdin_at_their_rate(call: Call, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import soxr

    samples = soxr.resample(load(clip).samples, 16_000, 44_100)
    data = (samples * 32767).astype("<i2").tobytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    done = call("stream", "-", "--rate", 44_100, *DIGITS)
    assert (done.status, done.out) == (0, TEXT + "\n")


def test_subtitles_go_to_a_file_when_all_is_heard(call: Call, clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "live.srt"
    done = call("stream", clip, *DIGITS, "--format", "srt", "--output", target)
    assert (done.status, done.out) == (0, "")
    number, times, text = target.read_text().splitlines()[:3]
    assert (number, text) == ("1", TEXT)
    assert times.startswith("00:00:00,")


@pytest.mark.parametrize(
    ("stdin", "message"),
    [(None, "stdin is closed"), (SimpleNamespace(buffer=io.BytesIO()), "stdin: no audio received")],
)
def test_stdin_without_audio_is_an_error(
    call: Call, monkeypatch: pytest.MonkeyPatch, stdin: object, message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    done = call("stream", "-", *DIGITS)
    assert (done.status, done.out) == (1, "")
    assert message in done.err  # also with --quiet


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["text", "jsonl", "srt"])
def test_a_full_disk_is_one_line(call: Call, clip: Path, name: str) -> None:
    done = call("stream", clip, *DIGITS, "--format", name, "--output", "/dev/full")
    assert done.status == 1
    assert done.err.count("cannot write") == 1
    assert "Traceback" not in done.err


def test_a_microphone_until_it_goes_away(call: Call, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = load(clip).samples
    module = fake_sounddevice(DEVICES[1:])
    plain = module.InputStream.start

    def start(stream: object) -> None:
        plain(stream)
        size = stream.settings["blocksize"]  # type: ignore[attr-defined]
        for at in range(0, len(samples), size):
            block = np.pad(samples[at : at + size], (0, max(0, at + size - len(samples))))
            stream.callback(block[:, None], size, None, None)  # type: ignore[attr-defined]
        stream.active = False  # type: ignore[attr-defined]

    module.InputStream.start = start
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    done = call("stream", "--mic", *DIGITS)
    assert "microphone Headset: was disconnected" in done.err
    assert (done.status, done.out) == (1, TEXT + "\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one source"),
        (("--mic", "a.wav"), "name one source"),
        (("--mic", "--simulate"), "are for recordings"),
        (("no-such.wav",), "no-such.wav"),
        (("examples/digits-en.flac", "--rate", "8000"), "--rate is for raw samples on stdin"),
        (("-", "--rate", "0"), "sample rate must be from 1000"),
        (("examples/digits-en.flac", "--mic-device", "3"), "--mic-device is for --mic"),
        (("examples/digits-en.flac", "--speed", "inf"), "--speed must be a finite number"),
        (("examples/digits-en.flac", "--policy", "sometimes"), "policy 'sometimes' is unknown"),
        (("examples/digits-en.flac", "--format", "doc"), "format 'doc' is unknown: use text, jsonl, srt, vtt"),
        (("examples/digits-en.flac", "--block", "0.3"), "block is for causal models"),
        (("examples/digits-en.flac", "--output", "/no/such/folder/a.txt"), "/no/such/folder"),
        (("examples/digits-en.flac", "--output", "/", "--model", "no/such"), "Is a directory"),
    ],
)
def test_what_cannot_be_done_is_one_line(call: Call, arguments: tuple[str, ...], message: str, root: Path) -> None:
    named = [str(root / one) if one.startswith("examples/") else one for one in arguments]
    done = call("stream", *DIGITS, *named)
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err


def test_ctrl_c_keeps_what_was_heard(clip: Path) -> None:
    model = (*DIGITS[:-2], "openvino", "--compute-type", "f32", "--quiet")  # a process that loads no PyTorch
    linnet.load("digits", engine="openvino", compute_type="f32", device="cpu")  # converts it here
    command = [sys.executable, "-m", "linnet", "stream", str(clip), "--simulate", *model, "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        rows = []
        for line in running.stdout:
            rows.append(json.loads(line))
            if rows[-1]["type"] == "final":
                os.kill(running.pid, signal.SIGINT)
                break
        begun = time.monotonic()
        rows += [json.loads(line) for line in running.stdout]
        assert running.wait(30) == 0, running.stderr.read() if running.stderr else ""
    assert time.monotonic() - begun < 20
    assert rows[-1]["type"] == "bye"
    said = "".join(row["text"] for row in rows if row["type"] == "final").strip()
    assert said
    assert TEXT.startswith(said.rpartition(" ")[0])


def test_the_screen_shows_final_text_plain_and_the_rest_dim() -> None:
    from rich.console import Console

    from linnet.cli.stream_output import Screen

    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=40, color_system="truecolor", legacy_windows=False)
    screen = Screen(console)
    common = {"time": 1.0, "segment": 0}
    screen.take(Vad(seq=0, time=1.0, speaking=True, at=0.5))
    screen.take(Partial(seq=1, stable=" one", volatile=" tooo", **common))  # type: ignore[arg-type]
    screen.take(Final(seq=2, text=" one", words=(), reason="stable", **common))  # type: ignore[arg-type]
    screen.take(Partial(seq=3, stable="", volatile=" two", **common))  # type: ignore[arg-type]
    screen.take(Final(seq=4, text=" two\x1b[31m", words=(), reason="endpoint", last=True, **common))  # type: ignore[arg-type]
    screen.close()
    shown = written.getvalue()
    assert "\x1b[2mone tooo\x1b[0m" in shown
    assert "one\x1b[2m two\x1b[0m" in shown
    assert "one two\\x1b[31m\n" in shown  # and no color
    assert "\x1b[31m" not in shown


def test_speech_without_a_pause_does_not_outgrow_the_screen() -> None:
    from rich.console import Console

    from linnet.cli.stream_output import Screen

    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=30, height=5, legacy_windows=False)
    screen = Screen(console)
    numbers = [f"word{number}" for number in range(100)]
    for seq, number in enumerate(numbers):
        screen.take(Final(seq=seq, time=1.0, segment=0, text=f" {number}", words=(), reason="stable"))
    screen.close()
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.getvalue()).replace("\r", "\n").splitlines()
    kept = [line for line, after in pairwise([*lines, ""]) if line.strip() and not after.startswith(line)]
    assert "\u2026" not in written.getvalue()  # rich's mark of what does not fit
    assert kept[-1].split()[-1] == numbers[-1]
    assert max(map(len, lines)) <= 30
    assert {word for line in lines for word in line.split()} == set(numbers)
