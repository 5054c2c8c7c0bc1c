"""TensorBoard's files are read back byte by byte; trackio and wandb are stood in for; what fails is left out."""

from __future__ import annotations

import sys
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("tensorboardX", reason="the extra `train` is not installed")

from tensorboardX import record_writer
from tensorboardX.proto.event_pb2 import SessionLog

from linnet.errors import MissingExtra
from linnet.training.tracking import RunInfo, tracking
from tests.support.event_files import events, scalars

ROWS = [
    {"step": 10, "steps": 40, "loss": 2.0, "norm": None, "drift": {"projector": 0.5}, "left_out": ["a.wav"]},
    {"step": 20, "steps": 40, "loss": 1.0, "norm": float("inf"), "wer": 0.25},
]


def send(run: RunInfo, rows: list[dict[str, Any]], track: str = "") -> list[str]:
    told: list[str] = []
    with tracking(run, track, told.append) as log:
        for row in rows:
            log(row)
    return told


def test_the_event_file_holds_every_number(tmp_path: Path) -> None:
    assert send(RunInfo(tmp_path, {}), ROWS) == []
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert ".tfevents." in file.name
    assert events(file)[0].file_version == "brain.Event:2"
    assert scalars(file) == [
        (10, "loss", 2.0),
        (10, "drift/projector", 0.5),
        (10, "left_out", 1.0),
        (20, "loss", 1.0),
        (20, "wer", 0.25),
    ]


def test_a_run_that_goes_on_has_the_steps_after_its_checkpoint_forgotten(tmp_path: Path) -> None:
    send(RunInfo(tmp_path, {}), ROWS)
    send(RunInfo(tmp_path, {}, step=15), ROWS[1:])
    first, second = sorted((tmp_path / "tensorboard").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    assert scalars(second) == [(20, "loss", 1.0), (20, "wer", 0.25)]
    begun = [(event.step, event.session_log.status) for event in events(second) if event.HasField("session_log")]
    assert begun == [(16, SessionLog.START)]  # TensorBoard purges what it has of this step and later ones
    assert [event.step for event in events(first) if event.HasField("session_log")] == [1]


def test_each_row_is_on_the_disk_at_once(tmp_path: Path) -> None:
    with tracking(RunInfo(tmp_path, {}), "", print) as log:
        log(ROWS[0])
        (file,) = (tmp_path / "tensorboard").iterdir()
        assert (10, "loss", 2.0) in scalars(file)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_ends_the_event_file_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FillsUp(record_writer.RecordWriter):  # type: ignore[misc]
        """Its disk has room for what the file begins with."""

        flushed = 0

        def flush(self) -> None:
            super().flush()
            self.flushed += 1
            if self.flushed > 1:
                Path("/dev/full").write_bytes(b"more")

    monkeypatch.setattr(record_writer, "RecordWriter", FillsUp)
    told = send(RunInfo(tmp_path, {}), ROWS)
    assert len(told) == 1
    assert "TensorBoard is disabled" in told[0]
    assert "No space left on device" in told[0]


def test_a_folder_that_cannot_be_made_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    told = send(RunInfo(tmp_path, {}), ROWS)
    assert len(told) == 1
    assert "FileExistsError" in told[0]


class Stand:
    """A module with the functions that trackio and wandb share, which notes its calls."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
        self.calls: list[tuple[str, Any]] = []
        module = ModuleType(name)
        module.__spec__ = spec_from_loader(name, None)

        def call(what: str) -> Any:
            def note(*args: Any, **options: Any) -> None:
                sys.stdout.write("* Run finished\n")
                self.calls.append((what, options if what == "init" else (*args, options)))
                if what == fails:
                    raise ConnectionError("no route to host\nsecond line")

            return note

        for what in ("init", "log", "finish"):
            setattr(module, what, call(what))
        monkeypatch.setitem(sys.modules, name, module)
        for key in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "TRACKIO_PROJECT"):
            monkeypatch.delenv(key, raising=False)


def test_trackio_gets_name_recipe_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand = Stand("trackio", monkeypatch)
    assert send(RunInfo(tmp_path / "mine", {"task": "speech"}), ROWS, "trackio") == []
    assert stand.calls == [
        ("init", {"project": "linnet", "name": "mine", "config": {"task": "speech"}, "resume": "allow"}),
        ("log", ({"loss": 2.0, "drift/projector": 0.5, "left_out": 1.0}, {"step": 10})),
        ("log", ({"loss": 1.0, "wer": 0.25}, {"step": 20})),
        ("finish", ({},)),
    ]
    assert capsys.readouterr().out == ""


def test_wandb_is_offline_without_a_key_and_goes_on_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand("wandb", monkeypatch)
    (said,) = send(RunInfo(tmp_path, {}), [], "wandb")
    assert "WANDB_API_KEY is not set" in said
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("WANDB_PROJECT", "birds")
    assert send(RunInfo(tmp_path, {}, step=7), [], "wandb") == []
    (first, second) = (options for what, options in stand.calls if what == "init")
    assert first["mode"] == "offline"
    assert "mode" not in second
    assert (first["project"], second["project"]) == ("linnet", "birds")
    assert first["id"] == second["id"] != ""
    assert "secret" not in repr(stand.calls)


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_a_service_that_fails_is_told_once_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    stand = Stand("trackio", monkeypatch, fails)
    told = send(RunInfo(tmp_path, {}), ROWS, "trackio")
    assert told == ["trackio is disabled, the run and its log.jsonl continue: ConnectionError: no route to host"]
    assert [what for what, _ in stand.calls].count(fails) == 1
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert len(scalars(file)) == 5


def test_an_error_of_the_run_itself_goes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand("trackio", monkeypatch)
    with pytest.raises(KeyboardInterrupt), tracking(RunInfo(tmp_path, {}), "trackio", print):
        raise KeyboardInterrupt
    assert stand.calls[-1] == ("finish", ({},))


def test_missing_trackers_are_named_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.training.tracking.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"linnet\[wandb\]"):
        send(RunInfo(tmp_path, {}), [], "wandb")
    with pytest.raises(MissingExtra, match=r"linnet\[train\]"):
        send(RunInfo(tmp_path, {}), [])
    assert not list(tmp_path.iterdir())
