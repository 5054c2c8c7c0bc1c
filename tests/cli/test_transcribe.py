"""`linnet transcribe`: what goes to stdout, to stderr and into files; in this process, without a model."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from calling import Call, make_call
from rich.console import Console

from fake_recognizer import FakeRecognizer
from linnet.cli import build_app
from linnet.cli.console import BarReporter, Row, clock, make_reporter
from linnet.errors import OptionError
from linnet.transcription.schedule import Progress

ONE_BY_ONE = ("transcribe", "--batch-size", "1")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sounds, the working folder is theirs."""
    folder = tmp_path / "talks"
    folder.mkdir()
    for name in ("one-two.wav", "three.flac", "four.mp3"):
        (folder / name).write_bytes(name.encode())
    monkeypatch.chdir(folder)
    return folder


def written(folder: Path) -> dict[str, str]:
    return {
        path.name: path.read_text() for path in folder.iterdir() if path.suffix[1:] in ("txt", "srt", "vtt", "json")
    }


def test_one_recording_goes_to_stdout(call: Call, talks: Path) -> None:
    done = call("transcribe", "one-two.wav", model=FakeRecognizer())
    assert (done.status, done.out) == (0, "one two\n")
    assert done.err == ("linnet: model: fake (the only one)\nlinnet: one-two.wav: 2.0 s of audio in 0.50 s, RTFx 4.0\n")
    assert written(talks) == {}


def test_one_recording_in_another_format(call: Call, talks: Path) -> None:
    done = call("transcribe", "one-two.wav", "--format", "srt", model=FakeRecognizer())
    assert done.out == "1\n00:00:00,000 --> 00:00:02,000\none two\n\n"
    document = json.loads(call("transcribe", "one-two.wav", "--format", "json", model=FakeRecognizer()).out)
    assert document["text"] == "one two"
    assert len(document["fingerprint"]) == 32


def test_silence_prints_nothing(call: Call, talks: Path) -> None:
    (talks / "silence.wav").touch()
    done = call("transcribe", "silence.wav", model=FakeRecognizer())
    assert (done.status, done.out) == (0, "")


def test_several_formats_need_a_folder(call: Call, talks: Path) -> None:
    done = call("transcribe", "three.flac", "--format", "txt,srt", model=FakeRecognizer())
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "linnet: several formats do not fit on stdout: choose one --format, or a folder with --output\n"
    )
    done = call("transcribe", "three.flac", "--format", "txt,srt", "--output", "out", model=FakeRecognizer())
    assert done.status == 0
    assert set(written(talks / "out")) == {"three.txt", "three.srt"}


def test_many_recordings_lie_beside_their_inputs(call: Call, talks: Path) -> None:
    done = call("transcribe", ".", "--format", "txt", "--format", "vtt", model=FakeRecognizer())
    assert (done.status, done.out) == (0, "")
    assert set(written(talks)) == {f"{stem}.{kind}" for stem in ("one-two", "three", "four") for kind in ("txt", "vtt")}
    lines = [line.split() for line in done.err.splitlines()[1:]]
    assert lines[0] == ["file", "audio", "(s)", "time", "(s)", "RTFx", "status"]
    assert lines[1][1:] == ["2.0", "0.50", "4.0", "done"]
    assert lines[4][:3] == ["3", "files", "6.0"]
    assert lines[4][-2:] == ["3", "done"]


def test_a_folder_that_holds_one_recording_is_no_single_input(call: Call, talks: Path) -> None:
    (talks / "sub").mkdir()
    (talks / "sub" / "five.wav").touch()
    done = call("transcribe", "sub", model=FakeRecognizer())
    assert (done.out, written(talks / "sub")) == ("", {"five.txt": "five\n"})


def test_show_prints_what_is_written(call: Call, talks: Path) -> None:
    (talks / "silence.wav").touch()
    done = call(*ONE_BY_ONE, "one-two.wav", "silence.wav", "--output", "out", "--show", model=FakeRecognizer())
    assert done.out == (
        "one-two.wav: 2.0 s of audio in 0.50 s, RTFx 4.0\n  one two\n\n"
        "silence.wav: 2.0 s of audio in 0.50 s, RTFx 4.0\n  (no speech)\n\n"
    )
    assert written(talks / "out") == {"one-two.txt": "one two\n", "silence.txt": ""}


def test_the_rest_goes_on_after_a_failure(call: Call, talks: Path) -> None:
    (talks / "bad.wav").touch()
    done = call("transcribe", "bad.wav", "missing.wav", "three.flac", "--output", "out", model=FakeRecognizer())
    assert done.status == 1
    assert "linnet: missing.wav: there is no such file or folder; check the path\n" in done.err
    assert "linnet: bad.wav: not a sound\n" in done.err
    assert done.err.splitlines()[-1].split() == ["3", "files", "2.0", *done.err.split()[-6:]]
    assert done.err.rstrip().endswith("2 failed, 1 done")
    assert written(talks / "out") == {"three.txt": "three\n"}


def test_one_that_fails_is_one_line(call: Call, talks: Path) -> None:
    (talks / "bad.wav").touch()
    done = call("transcribe", "bad.wav", "--model", "m", model=FakeRecognizer())
    assert (done.status, done.out, done.err) == (1, "", "linnet: bad.wav: not a sound\n")
    assert "Traceback" in call("transcribe", "bad.wav", "--verbose", model=FakeRecognizer()).err
    assert "AudioError" in call("transcribe", "bad.wav", "three.flac", "--verbose", model=FakeRecognizer()).err


def test_notices_of_a_sound_are_told(call: Call, talks: Path) -> None:
    (talks / "short.wav").touch()
    assert "linnet: short.wav: it ends early.\n" in call("transcribe", "short.wav", model=FakeRecognizer()).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.wav"], "missing.wav: there is no such file or folder; check the path"),
        (["three.flac", "--format", "docx"], "format 'docx' is unknown: use txt, srt, vtt, tsv, json, jsonl"),
        (["three.flac", "--task", "sing"], "task 'sing' is unknown: use transcribe or translate"),
        (["three.flac", "--temperature", "hot"], "temperature must be a number, or several with commas between them"),
        (["three.flac", "--no-speech-threshold", "x"], "no-speech threshold must be a number"),
        (["three.flac", "--progress", "dots"], "progress 'dots' is unknown: use auto, bar, json, none"),
        (["three.flac", "--language", "xx"], "language 'xx' is unknown to this model"),
        (["three.flac", "four.mp3", "--language", "xx"], "language 'xx' is unknown to this model"),
        (["three.flac", "--output", "four.mp3"], "four.mp3: expected a folder for results, found a file"),
        (["empty"], "empty: no audio in this folder"),
    ],
)
def test_what_cannot_be_is_one_line(call: Call, talks: Path, arguments: list[str], said: str) -> None:
    (talks / "empty").mkdir()
    done = call("transcribe", *arguments, "--model", "m", model=FakeRecognizer())
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"linnet: {said}")
    assert written(talks) == {}


def test_a_second_run_skips_what_is_done(call: Call, talks: Path) -> None:
    call("transcribe", "three.flac", "four.mp3", "--output", "out", model=FakeRecognizer())
    before = (talks / "out" / "three.txt").stat()
    again = FakeRecognizer()
    done = call("transcribe", ".", "--output", "out", "--skip-existing", model=again)
    assert done.status == 0
    assert [Path(heard).name for heard in again.heard] == ["one-two.wav"]
    assert done.err.rstrip().endswith("2 skipped, 1 done")
    after = (talks / "out" / "three.txt").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_ctrl_c_says_how_to_go_on(call: Call, talks: Path) -> None:
    (talks / "stop.wav").touch()
    done = call(*ONE_BY_ONE, "three.flac", "stop.wav", "four.mp3", "--output", "out", model=FakeRecognizer())
    assert done.status == 130
    assert done.err.endswith("linnet: stopped: 1 of 3 done; run again with --skip-existing to go on\n")
    assert written(talks / "out") == {"three.txt": "three\n"}


def test_a_full_disk_says_how_to_go_on(call: Call, talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = call("transcribe", "three.flac", "four.mp3", "--output", "out", model=FakeRecognizer())
    assert done.status == 1
    assert "cannot write: the disk is full; free some space or choose another --output" in done.err
    assert "linnet: stopped, the disk is full: 1 not begun; make room, then go on with --skip-existing\n" in done.err
    assert list((talks / "out").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout() -> None:
    code = (
        "from linnet.cli.console import print_result\nfrom linnet.errors import OutputError\n"
        "try:\n    print_result('text')\nexcept OutputError as error:\n    raise SystemExit(str(error))"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "standard output: cannot write: No space left on device\n")


def test_json_progress_is_a_line_for_each_step(call: Call, talks: Path) -> None:
    (talks / "bad.wav").touch()
    done = call(*ONE_BY_ONE, "three.flac", "bad.wav", "--output", "o", "--progress", "json", model=FakeRecognizer())
    events = [json.loads(line) for line in done.err.splitlines()]
    assert events == [
        {"event": "notice", "message": "model: fake (the only one)"},
        {"event": "begin", "files": 2},
        {"event": "progress", "file": "three.flac", "position": 1.0, "duration": 2.0},
        {"event": "finished", "file": "three.flac", "status": "done", "duration": 2.0, "seconds": 0.5, "error": None}
        | {"rtfx": 4.0},
        {"event": "progress", "file": "bad.wav", "position": 1.0, "duration": 2.0},
        {"event": "finished", "file": "bad.wav", "status": "failed", "duration": 0.0, "seconds": 0.5}
        | {"error": "bad.wav: not a sound", "rtfx": None},
        {"event": "end", "files": 2, "done": 1, "failed": 1, "duration": 2.0, "seconds": events[-1]["seconds"]},
    ]


def test_the_bar_counts_seconds_of_audio() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with BarReporter(console) as reporter:
        reporter.begin(3)
        reporter.progress(Progress(0, "a.wav", 30.0, 60.0))
        reporter.progress(Progress(1, "b.wav", 0.0, None))
        reporter.finished(Row("a.wav", "done", 60.0, 2.0))
        reporter.finished(Row("b.wav", "failed", error="b.wav: not a sound"))
        assert reporter._bar is not None
        (task,) = reporter._bar.tasks
        assert (task.completed, task.total) == (60.0, 120.0)  # one failed, one is not known and taken as the mean
        assert task.description.startswith("2/3")
    assert "linnet: b.wav: not a sound" in screen.getvalue()


def test_the_kind_of_progress() -> None:
    assert type(make_reporter("auto")).__name__ == "Reporter"  # no terminal here
    assert isinstance(make_reporter("bar"), BarReporter)
    with pytest.raises(OptionError):
        make_reporter("no")
    assert [clock(seconds) for seconds in (0, 59.6, 3599.4, 3600)] == ["0:00", "1:00", "59:59", "1:00:00"]


def test_options_reach_the_decoder(call: Call, talks: Path) -> None:
    recognizer = FakeRecognizer()
    given = "--language de --temperature 0,0.5 --beam-size 5 --no-timestamps --no-speech-threshold none"
    given += " --compression-ratio-threshold 2 --prompt p --seed 3"
    call("transcribe", "three.flac", *given.split(), model=recognizer)
    (options,) = recognizer.options
    assert options is not None
    assert (options.language, options.temperatures, options.beam_size, options.timestamps) == ("de", (0, 0.5), 5, False)
    assert (options.no_speech_threshold, options.compression_ratio_threshold) == (None, 2.0)
    assert (options.log_probability_threshold, options.prompt, options.seed) == (-1.0, "p", 3)


def test_without_options_the_decoder_has_its_own(call: Call, talks: Path) -> None:
    from linnet.decoding.options import DecodingOptions

    recognizer = FakeRecognizer()
    call("transcribe", "three.flac", model=recognizer)
    assert recognizer.options == [DecodingOptions()]


def test_options_come_from_the_environment(call: Call, talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"FORMAT": "srt,vtt", "OUTPUT": "out", "BEAM_SIZE": "3", "TIMESTAMPS": "0", "MODEL": "m", "SHOW": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"LINNET_{name}", value)
    recognizer = FakeRecognizer()
    done = call("transcribe", "three.flac", model=recognizer)
    assert set(written(talks / "out")) == {"three.srt", "three.vtt"}
    assert recognizer.options[0] is not None
    assert (recognizer.options[0].beam_size, recognizer.options[0].timestamps) == (3, False)
    assert "three" in done.out
    assert "model:" not in done.err


@pytest.mark.parametrize("verb", ["transcribe", "evaluate"])
def test_every_option_is_an_environment_variable_that_the_help_shows(
    verb: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = typer.main.get_command(build_app())
    assert isinstance(command, click.Group) or hasattr(command, "commands")
    command = command.commands[verb]
    command = getattr(command, "commands", {}).get("run", command)
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    assert len(options) > 10
    for one in options:
        assert one.envvar == f"LINNET_{one.opts[0].removeprefix('--').upper().replace('-', '_')}"
    monkeypatch.setenv("COLUMNS", "200")
    shown = call(verb, "--help").out
    assert [one.envvar for one in options if one.envvar not in shown] == []


def test_quiet_says_failures_only(call: Call, talks: Path) -> None:
    (talks / "bad.wav").touch()
    done = call(*ONE_BY_ONE, "one-two.wav", "bad.wav", "-o", "out", "-f", "srt", "-q", model=FakeRecognizer())
    assert done.status == 1
    assert done.err == "linnet: bad.wav: not a sound\n"
    assert (talks / "out" / "one-two.srt").is_file()


def test_a_single_file_says_where_it_was_written(call: Call, talks: Path) -> None:
    done = call("transcribe", "one-two.wav", "-o", "out", "-f", "txt,srt", "--language", "auto", model=FakeRecognizer())
    assert "linnet: written: out/one-two.txt, out/one-two.srt\n" in done.err


def test_hotwords_and_paragraphs_reach_the_run(call: Call, talks: Path) -> None:
    model = FakeRecognizer()
    done = call("transcribe", "one-two.wav", "--hotwords", "Linnet", "--paragraphs", model=model)
    assert done.out == "one two\n"
    assert model.options[0] is not None
    assert model.options[0].hotwords == "Linnet"
