"""`linnet transcribe`: what goes to stdout, to stderr and into files; in this process, without a model."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from rich.console import Console

from linnet.cli import build_app
from linnet.cli.console import BarReporter, FileResult, clock, make_reporter
from linnet.errors import OptionError
from linnet.transcription.schedule import Progress, Result
from tests.support.calling import Call, make_call
from tests.support.fake_recognizer import FakeRecognizer

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
    assert done.err == ("linnet: several formats need files: choose one --format, or a folder with --output\n")
    done = call("transcribe", "three.flac", "--format", "txt,srt", "--output", "out", model=FakeRecognizer())
    assert done.status == 0
    assert set(written(talks / "out")) == {"three.txt", "three.srt"}


def test_recordings_lie_beside_their_inputs_where_that_is_asked_for(call: Call, talks: Path) -> None:
    done = call("transcribe", ".", "--beside", "--format", "txt", "--format", "vtt", model=FakeRecognizer())
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
    done = call("transcribe", "sub", "--beside", model=FakeRecognizer())
    assert (done.out, written(talks / "sub")) == ("", {"five.txt": "five\n"})


@pytest.mark.parametrize("inputs", [("three.flac", "four.mp3"), (".",), ("sub",), ("*.flac", "missing.wav")])
def test_several_recordings_need_a_place(
    call: Call, talks: Path, inputs: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before a model is loaded; nothing is written where nobody asked for it."""
    (talks / "sub").mkdir()
    (talks / "sub" / "five.wav").touch()
    before = set(talks.rglob("*"))
    monkeypatch.setattr("linnet.transcription.recognizer.load", lambda *_, **__: pytest.fail("a model was loaded"))
    done = call("transcribe", *inputs)
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "linnet: several recordings, or a folder of them, need files: give a folder for the transcripts with "
        "--output, or write each next to its recording with --beside\n"
    )
    both = call("transcribe", "three.flac", "--beside", "--output", "out")
    assert (both.status, "--beside and --output exclude each other" in both.err) == (1, True)
    assert set(talks.rglob("*")) == before


def test_one_recording_beside_its_input(call: Call, talks: Path) -> None:
    done = call("transcribe", "three.flac", "--beside", model=FakeRecognizer())
    assert (done.status, done.out, written(talks)) == (0, "", {"three.txt": "three\n"})


HOSTILE = "a\x1b]0;owned\x07\x1b[31m\u202egpj\n\x9b2Jbad.wav"


@pytest.mark.parametrize("progress", ["none", "bar"])
def test_no_file_name_commands_the_terminal(call: Call, talks: Path, progress: str) -> None:
    good = HOSTILE.replace("bad", "short")
    for name in (HOSTILE, good):
        (talks / name).touch()
    arguments = ("--output", "out", "--show", "--verbose", "--batch-size", "1", "--progress", progress)
    done = call("transcribe", HOSTILE, good, HOSTILE + ".gone", *arguments, model=FakeRecognizer())
    name = "a\\x1b]0;owned\\x07\\x1b[31m\\u202egpj\\n\\x9b2J"
    assert f"linnet: {name}bad.wav: not a sound\n" in done.err
    assert f"linnet: {name}short.wav: it ends early.\n" in done.err
    assert f"linnet: {name}bad.wav.gone: no file matches" in done.err
    assert done.out.startswith(f"{name}short.wav: 2.0 s of audio")
    mine = ("\n", "\x1b") if progress == "bar" else ("\n",)
    assert [letter for letter in done.err if not letter.isprintable() and letter not in mine] == []
    assert "\x1b]" not in done.err
    assert (talks / "out" / (good.removesuffix("wav") + "txt")).is_file()


def test_json_keeps_the_true_name(call: Call, talks: Path) -> None:
    (talks / HOSTILE).touch()
    done = call("transcribe", HOSTILE, "--output", "out", "--progress", "json", model=FakeRecognizer())
    (finished,) = [event for line in done.err.splitlines() if (event := json.loads(line))["event"] == "finished"]
    assert finished["file"] == HOSTILE
    assert "\x1b" not in done.err


def test_an_error_that_ends_the_run_commands_no_terminal(call: Call, talks: Path) -> None:
    done = call("transcribe", HOSTILE + ".gone", "--verbose")
    assert done.err.splitlines()[-2].startswith("linnet: a\\x1b]0;owned\\x07\\x1b[31m\\u202egpj")
    assert [letter for letter in done.err if not letter.isprintable() and letter != "\n"] == []


def test_the_log_of_downloads_is_told(call: Call, talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Downloads(FakeRecognizer):
        def transcribe_many(self, *arguments: Any, **options: Any) -> Iterator[Result]:
            logging.getLogger("linnet.audio").info("a.wav: 1.0 of 2.0 MB downloaded")
            return super().transcribe_many(*arguments, **options)

    done = call("transcribe", "three.flac", model=Downloads())
    assert "linnet: a.wav: 1.0 of 2.0 MB downloaded\n" in done.err
    assert logging.getLogger("linnet.audio").handlers == []


def test_secrets_of_an_address_are_not_told(call: Call, talks: Path) -> None:
    url = "https://me:s3cret@host/bad.wav?key=s3cret"
    for arguments in ((url,), (url, "--output", "out", "--progress", "json"), (url, "three.flac", "--output", "out")):
        done = call("transcribe", *arguments, model=FakeRecognizer())
        assert (done.status, "https://host/bad.wav?…" in done.err or "\\u2026" in done.err) == (1, True)
        assert "s3cret" not in done.err + done.out


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
    assert (
        "AudioError" in call("transcribe", "bad.wav", "three.flac", "--beside", "--verbose", model=FakeRecognizer()).err
    )


def test_notices_of_a_sound_are_told(call: Call, talks: Path) -> None:
    (talks / "short.wav").touch()
    assert "linnet: short.wav: it ends early.\n" in call("transcribe", "short.wav", model=FakeRecognizer()).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.wav"], "missing.wav: there is no such file or folder; check the path"),
        (["three.flac", "--format", "docx"], "format 'docx' is unknown: use txt, srt, vtt, tsv, json, jsonl"),
        (["three.flac", "--task", "sing"], "task 'sing' is unknown: use transcribe or translate"),
        (["three.flac", "--temperature", "hot"], "temperature must be a number, or several separated by commas"),
        (["three.flac", "--no-speech-threshold", "x"], "no-speech threshold must be a number"),
        (["three.flac", "--progress", "dots"], "progress 'dots' is unknown: use auto, bar, json, none"),
        (["three.flac", "--language", "xx"], "language 'xx' is unknown to this model"),
        (["three.flac", "four.mp3", "--beside", "--language", "xx"], "language 'xx' is unknown to this model"),
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
    assert done.err.endswith("linnet: stopped: 1 of 3 done; run again with --skip-existing to resume\n")
    assert written(talks / "out") == {"three.txt": "three\n"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_are_as_ctrl_c(call: Call, talks: Path, number: signal.Signals) -> None:
    class Stopped(FakeRecognizer):
        def transcribe_many(self, sources: Iterable[Any], **options: Any) -> Iterator[Result]:
            for result in super().transcribe_many(sources, **options):
                yield result
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    done = call(*ONE_BY_ONE, "three.flac", "four.mp3", "--output", "out", model=Stopped())
    assert done.status == 128 + number
    assert done.err.endswith("linnet: stopped: 1 of 2 done; run again with --skip-existing to resume\n")
    assert written(talks / "out") == {"three.txt": "three\n"}
    assert signal.getsignal(number) is before


def test_a_full_disk_says_how_to_go_on(call: Call, talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = call("transcribe", "three.flac", "four.mp3", "--output", "out", model=FakeRecognizer())
    assert done.status == 1
    assert "cannot write: the disk is full; free some space or choose another --output" in done.err
    assert "linnet: stopped, the disk is full: 1 not begun; free space, then resume with --skip-existing\n" in done.err
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
        reporter.finished(FileResult("a.wav", "done", 60.0, 2.0))
        reporter.finished(FileResult("b.wav", "failed", error="b.wav: not a sound"))
        assert reporter.bar is not None
        (task,) = reporter.bar.tasks
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
    from linnet.transcription.options import TranscriptionOptions

    recognizer = FakeRecognizer()
    call("transcribe", "three.flac", model=recognizer)
    assert recognizer.options == [TranscriptionOptions()]


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


OF_EVALUATE = ("--output", "--streaming", "--policy", "--delay", "--step", "--chunk", "--block", "--align")


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
        own = "EVALUATE_" if verb == "evaluate" and one.opts[0] in OF_EVALUATE else ""
        assert one.envvar == f"LINNET_{own}{one.opts[0].removeprefix('--').upper().replace('-', '_')}"
    monkeypatch.setenv("COLUMNS", "200")
    shown = call(verb, "--help").out
    hidden = ["LINNET_DTYPE"]  # deprecated
    assert [one.envvar for one in options if one.envvar not in shown] == hidden


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
