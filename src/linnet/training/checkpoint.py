"""Checkpoints that survive a kill: written beside their place, synced, then renamed.

A run's folder holds `step-00001200/state.pt` and so on. A folder that is there under its final name is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from linnet.errors import ModelError, OutputError


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Write `state` as the checkpoint of `step` and remove all but the newest `keep`.

    Raises:
        OutputError: it cannot be written, for instance because the disk is full; the older ones stay.
    """
    final = folder / f"step-{step:08d}"
    with making(folder / f".{final.name}.{os.getpid()}.tmp") as temporary:
        with (temporary / "state.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if final.exists():
            shutil.rmtree(final)
        temporary.replace(final)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def swap_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a new folder beside `folder`, then put it in its place: it is whole at any moment, old or new.

    A kill between the two renames leaves the old one aside, and `restore_folder` puts it back. Raises `OutputError`
    where it cannot be written.
    """
    restore_folder(folder)
    old = _aside(folder)
    with making(folder.with_name(f".{folder.name}.tmp")) as temporary:
        write(temporary)
        modes = [path.stat().st_mode for path in temporary.iterdir() if path.is_file()]
        for path in temporary.glob("*.safetensors"):
            path.chmod(max(modes))  # they are written for their owner only; the others say what is usual here
        if folder.exists():
            folder.replace(old)
        temporary.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def restore_folder(folder: Path) -> None:
    """Undo a `swap_folder` that was killed."""
    old = _aside(folder)
    if old.is_dir() and not folder.exists():
        old.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


@contextmanager
def making(temporary: Path) -> Iterator[Path]:
    """A fresh folder to write in and rename; what fails leaves nothing behind. Raises `OutputError`."""
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by a RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        free = shutil.disk_usage(temporary.parent).free if temporary.parent.is_dir() else 0
        raise OutputError(
            f"{temporary.parent}: cannot write a checkpoint ({error}), {free / 1e9:.3f} GB are free: make room, then "
            "the same command goes on from the newest checkpoint."
        ) from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.pt").is_file())


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state on the CPU, or None where there is none yet.

    Raises:
        ModelError: the newest checkpoint cannot be read.
    """
    found = list_checkpoints(folder)
    for leftover in folder.glob(".step-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    if not found:
        return None
    path = found[-1] / "state.pt"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path}: not a readable checkpoint ({error}). Remove {path.parent} to go on.") from error
    return state
