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
from linnet.files import whole_folder
from linnet.machine import show_bytes


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Write `state` as the checkpoint of `step` and remove all but the newest `keep`.

    Raises:
        OutputError: it cannot be written, for instance because the disk is full; the older ones stay.
    """
    final = folder / f"step-{step:08d}"
    with _making(final) as draft, (draft / "state.pt").open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def swap_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a new folder beside `folder`, then put it in its place: it is whole at any moment, old or new.

    A kill between the two renames leaves the old one aside, and `linnet.files.restore_folder` puts it back. Raises
    `OutputError` where it cannot be written.
    """
    with _making(folder) as draft:
        write(draft)
        modes = [path.stat().st_mode for path in draft.iterdir() if path.is_file()]
        for path in draft.glob("*.safetensors"):
            path.chmod(max(modes))  # they are written for their owner only; the others say what is usual here
    return folder


@contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A folder that replaces `folder` when it is whole; what fails leaves nothing behind. Raises `OutputError`."""
    try:
        with whole_folder(folder, "replace") as draft:
            yield draft
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by a RuntimeError
        free = shutil.disk_usage(folder.parent).free if folder.parent.is_dir() else 0
        raise OutputError(
            f"{folder.parent}: cannot write a checkpoint ({error}), {show_bytes(free)} are free: make room, then "
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
    for leftover in folder.glob(".step-*.tmp"):  # of an earlier Linnet
        shutil.rmtree(leftover, ignore_errors=True)
    if not found:
        return None
    path = found[-1] / "state.pt"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path}: not a readable checkpoint ({error}). Remove {path.parent} to go on.") from error
    return state
