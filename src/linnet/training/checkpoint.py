"""Atomic checkpoints: written to a temporary folder, synced, then renamed.

A run's folder holds `step-00001200/state.pt` and so on. A folder with a final name is complete.
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
        OutputError: it cannot be written, for instance because the disk is full; older ones are kept.
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
    """Replace `folder` by a new one that `write` fills; it is complete at any moment, old or new.

    After a kill between the two renames, `linnet.files.restore_folder` restores the old one. Raises `OutputError`.
    """
    with _making(folder) as draft:
        write(draft)
        modes = [path.stat().st_mode for path in draft.iterdir() if path.is_file()]
        for path in draft.glob("*.safetensors"):
            path.chmod(max(modes))  # safetensors writes them readable by the owner only
    return folder


@contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A folder that replaces `folder` when complete; a failure leaves nothing behind. Raises `OutputError`."""
    try:
        with whole_folder(folder, "replace") as draft:
            yield draft
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        free = shutil.disk_usage(folder.parent).free if folder.parent.is_dir() else 0
        raise OutputError(
            f"{folder.parent}: cannot write a checkpoint ({error}), {show_bytes(free)} free: free some space, then "
            "the same command resumes from the newest checkpoint."
        ) from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.pt").is_file())


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state on the CPU, or None if there is none.

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
        raise ModelError(
            f"{path}: not a readable checkpoint ({error}). Remove {path.parent} to resume from an older one."
        ) from error
    return state
