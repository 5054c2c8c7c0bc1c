"""Experiment trackers: TensorBoard files always, trackio or wandb by option.

A tracker that fails is reported once and disabled, so that neither a full disk nor the network ends a run.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from linnet.errors import MissingExtra
from linnet.notices import Notify

Row = dict[str, Any]
PROJECT = "linnet"


@dataclass(frozen=True)
class RunInfo:
    """A run for its trackers: its folder (whose name is the run's), recipe and current step."""

    folder: Path
    recipe: dict[str, Any]
    step: int = 0


class Tracker(Protocol):
    """An experiment tracker; any method may raise anything."""

    def log(self, row: Row) -> None:
        """One row of the log."""
        ...

    def close(self) -> None:
        """End the run."""
        ...


def check_tracker(name: str) -> None:
    """Raise `MissingExtra` for a tracker that is not installed."""
    if name and find_spec(name) is None:
        raise MissingExtra(f"track: {name}", extra=name)
    if find_spec("tensorboardX") is None:
        raise MissingExtra("training", extra="train")


@contextmanager
def tracking(run: RunInfo, track: str, notify: Notify) -> Iterator[Callable[[Row], None]]:
    """Open the trackers of a run; yields a function that logs a row. Raises `MissingExtra` for a missing library."""
    check_tracker(track)
    makers: dict[str, Callable[[], Tracker]] = {"TensorBoard": partial(EventFile, run)}
    if track:
        makers[track] = partial(Service, run, track, notify)
    alive: dict[str, Tracker] = {}

    def attempt(name: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # noqa: BLE001  trackers may raise anything
            alive.pop(name, None)
            notify(f"{name} is disabled, the run and its log.jsonl continue: {_brief(error)}")
            return None

    for name, make in makers.items():
        if (made := attempt(name, make)) is not None:
            alive[name] = made

    def send(row: Row) -> None:
        for name, tracker in list(alive.items()):
            attempt(name, partial(tracker.log, row))

    try:
        yield send
    finally:
        for name, tracker in list(alive.items()):
            attempt(name, tracker.close)


class EventFile:
    """An event file of TensorBoard in the run's `tensorboard`.

    A resumed run adds a file that makes TensorBoard discard steps after the checkpoint. `log` writes through and raises
    disk errors (the threaded writer of tensorboardX would end silently on a full disk).
    """

    def __init__(self, run: RunInfo) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        folder = run.folder / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}.{run.step}"
        self._scalar, self._event = scalar, Event
        self._records = RecordWriter(str(folder / name))
        begun = SessionLog(status=SessionLog.START)
        version = Event(wall_time=now, file_version="brain.Event:2")
        self._write([version, Event(wall_time=now, step=run.step + 1, session_log=begun)])

    def log(self, row: Row) -> None:
        """One event for each number."""
        now, step = time.time(), row["step"]
        found = numbers(row).items()
        self._write([self._event(wall_time=now, step=step, summary=self._scalar(*pair)) for pair in found])

    def _write(self, events: Sequence[Any]) -> None:
        try:
            for event in events:
                self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError:
            with suppress(OSError):  # the same error again
                self._records.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._records.close()


class Service:
    """A run of trackio or wandb, whose functions have the same names.

    Both resume a run of the same name (wandb: of the id in the run's folder). trackio stores locally; so does wandb
    without `WANDB_API_KEY` or `WANDB_MODE` (`wandb sync` uploads later). The project is `linnet`, or `TRACKIO_PROJECT`
    or `WANDB_PROJECT`.
    """

    def __init__(self, run: RunInfo, name: str, notify: Notify) -> None:
        self._module: Any = import_module(name)
        options: dict[str, Any] = {"resume": "allow", "config": run.recipe, "name": run.folder.absolute().name}
        if name == "wandb":
            options |= {"id": _kept_id(run.folder / "wandb.id"), "dir": str(run.folder)}
            if not (os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE")):
                options["mode"] = "offline"
                notify(f"wandb stores the run in {run.folder / 'wandb'}: WANDB_API_KEY is not set")
        with redirect_stdout(sys.stderr):  # stdout is for results
            self._module.init(project=os.environ.get(f"{name.upper()}_PROJECT") or PROJECT, **options)

    def log(self, row: Row) -> None:
        """All numbers of the row at its step."""
        with redirect_stdout(sys.stderr):
            self._module.log(numbers(row), step=row["step"])

    def close(self) -> None:
        """Finish the run."""
        with redirect_stdout(sys.stderr):
            self._module.finish()


def numbers(row: Row) -> dict[str, float]:
    """The finite numbers of a row by name; nested ones as `drift/encoder`, lists by their length.

    >>> numbers({"step": 3, "loss": 1.5, "norm": None, "drift": {"projector": 0.1}, "left_out": ["a.wav"]})
    {'loss': 1.5, 'drift/projector': 0.1, 'left_out': 1.0}
    """
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {f"{name}/{part}": number for part, number in numbers(value).items()}
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found[name] = float(len(value))
        elif isinstance(value, int | float) and math.isfinite(value) and name not in ("step", "steps"):
            found[name] = float(value)
    return found


def _kept_id(path: Path) -> str:
    """The id in the file, or a new one that is stored there."""
    if not path.is_file():
        from uuid import uuid4

        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid4().hex[:16], encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
