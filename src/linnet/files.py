"""Drafts: files and folders that are written beside their place and renamed when they are whole."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

_UNTOUCHED = 24 * 3600.0  # seconds after which a draft is left behind whoever made it: no work pauses that long
_UNKNOWN = "elsewhere"
_NAME = re.compile(r"\.linnet-(?P<machine>[a-z0-9]+)-(?P<pid>\d+)-(?P<begun>\d+)-[0-9a-f]{8}\.tmp")


def draft_path(folder: Path) -> Path:
    """A new hidden path in a folder for a file or folder that is renamed once it is whole. Makes nothing.

    Drafts that killed processes left in that folder are removed, once in the life of this process. The name says whose
    a draft is: the machine (and container), the process and when it began.
    """
    _clear_once(folder)
    pid = os.getpid()
    return folder / f".linnet-{_machine()}-{pid}-{_begun(pid) or 0}-{secrets.token_hex(4)}.tmp"


@cache
def _clear_once(folder: Path) -> None:
    for path in list(folder.glob(".linnet-*.tmp")):
        with suppress(OSError):  # another process was faster, or it is not ours to remove
            if _is_left(path):
                _remove(path)


def _is_left(path: Path) -> bool:
    """Whether the maker of a draft is gone.

    Known of processes of this user on this machine. Others, as on a disk that machines share, count as gone when the
    draft has not changed for a day.
    """
    found = _NAME.fullmatch(path.name)
    status = path.lstat()
    if found and found["machine"] == _machine() != _UNKNOWN and status.st_uid == os.getuid():
        return _begun(int(found["pid"])) != found["begun"]
    inner = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    newest = max([status.st_mtime, *(one.lstat().st_mtime for one in inner)])
    return time.time() - newest > _UNTOUCHED


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """8 digits of what numbers the processes here: this boot, and the container; another word where /proc is not."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return _UNKNOWN
    return hashlib.sha256(f"{boot} {numbers}".encode()).hexdigest()[:8]


def _begun(pid: int) -> str | None:
    """When a process began, in the kernel's ticks, so that a number that is used again is told apart; None if gone."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return told.rpartition(")")[2].split()[19]
