"""Atomic files and folders, and logs that survive their process.

Output is written to a draft next to its destination and renamed when it is complete: after a crash or `kill -9`,
readers see the old version or the new one. Drafts of killed processes are removed by the next process that writes
there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

from linnet.closing import Closing
from linnet.errors import OutputError

_UNTOUCHED = 24 * 3600.0  # seconds after which any unchanged draft counts as abandoned
_UNKNOWN = "elsewhere"
_NAME = re.compile(r"\.linnet-(?P<machine>[a-z0-9]+)-(?P<pid>\d+)-(?P<begun>\d+)-[0-9a-f]{8}\.tmp")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_BLOCK = 1 << 16  # bytes

Existing = Literal["refuse", "keep", "replace"]


# --- files


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end of the block, and is removed on failure. Raises `OSError`."""
    draft = draft_path(path.parent)
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike[str], text: str) -> None:
    r"""Write UTF-8 text so that a reader, a crash or `kill -9` sees the old file or the whole new one.

    Characters that UTF-8 cannot encode (file names in another encoding) are written as `\udcxx`, which JSON reads back.

    Raises:
        OutputError: the disk is full, the folder is missing or not writable; names the path and the way out.
    """
    target = Path(path)
    try:
        with whole_file(target) as file:
            file.write(text.encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        raise cannot_write(target, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The message for a failed write: the cause and the way out."""
    if error.errno in _FULL:
        way_out = "the disk is full; free some space or choose another --output"
    elif error.errno in _CLOSED:
        way_out = "no permission to write there; choose another --output"
    elif error.errno == errno.ENOENT:
        way_out = "the folder is missing; create it or choose another --output"
    elif error.errno == errno.EFBIG:
        way_out = "the file would be larger than is allowed here; raise the limit (ulimit -f)"
    else:
        way_out = f"{error.strerror or error}; choose another --output"
    return OutputError(f"{path}: cannot write: {way_out}")


# --- folders


@contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """An empty working folder within `folder`, removed at the end of the block. Raises `OSError`."""
    draft = draft_path(folder)
    try:
        draft.mkdir(parents=True)
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def whole_folder(path: Path, existing: Existing = "refuse") -> Iterator[Path]:
    """A folder to fill that becomes `path` at the end of the block, as in `place_folder`; removed on failure."""
    with draft_folder(path.parent) as draft:
        yield draft
        place_folder(draft, path, existing)


def place_folder(made: Path, path: Path, existing: Existing = "refuse") -> None:
    """Rename a folder to its destination. Raises `OSError`.

    `existing`: an existing folder is an error, or is kept and `made` left (another process was faster), or is replaced.
    A replaced folder is moved aside first; if the process is killed between the two renames, `restore_folder` moves it
    back.
    """
    if existing == "replace":
        restore_folder(path)
        if path.exists():
            path.replace(_aside(path))
    try:
        made.replace(path)
    except OSError as error:
        if existing == "refuse" or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        if existing == "replace":
            restore_folder(path)


def restore_folder(path: Path) -> None:
    """Undo an interrupted replacement."""
    old = _aside(path)
    if old.is_dir() and not path.exists():
        old.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def open_folder(path: Path) -> None:
    """Create a folder if it is missing, and check that it is writable. Raises `OSError`."""
    path.mkdir(parents=True, exist_ok=True)
    probe = draft_path(path)
    probe.touch()
    probe.unlink()


def check_place(path: Path) -> None:
    """Raise `OutputError` where nothing can be written at this path, before the work. Missing folders are no fault."""
    found = next(one for one in path.absolute().parents if one.exists())
    try:
        open_folder(found)
    except OSError as error:
        raise cannot_write(path, error) from error


# --- logs


class JsonLog(Closing):
    """An append-only file of JSON lines: a line is passed to the system before `append` returns, so it survives `kill
    -9`.

    An existing file is continued; an incomplete last line is removed. `restart` empties it. `allow_nan` writes numbers
    that are not finite, which JSON does not support, in Python's way. Raises `OSError`.
    """

    def __init__(self, path: Path, *, restart: bool = False, allow_nan: bool = True) -> None:
        self.path = path
        self._allow_nan = allow_nan
        kept = path.is_file() and not restart  # a pipe or a device cannot be continued
        self._file: BinaryIO = path.open("r+b" if kept else "wb")
        if kept:
            self._file.truncate(self._file.seek(_end_of_lines(self._file)))

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row. Raises `OSError`, and `ValueError` for a number that is not allowed."""
        line = json.dumps(row, ensure_ascii=False, allow_nan=self._allow_nan) + "\n"
        self._file.write(line.encode("utf-8", errors="backslashreplace"))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # a failed write was already reported
            self._file.close()


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file without line ends; an incomplete last one is omitted. Raises `OSError`."""
    return path.read_bytes().split(b"\n")[:-1]


def _end_of_lines(file: BinaryIO) -> int:
    """The position after the last complete line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


# --- drafts


def draft_path(folder: Path) -> Path:
    """A new hidden path in a folder, for a file or folder that is renamed when it is complete. Creates nothing.

    Drafts of killed processes in this folder are removed, once per process. The name identifies the owner of a draft:
    the machine (and container), the process and its start time.
    """
    clear_once(folder)
    pid = os.getpid()
    return folder / f".linnet-{_machine()}-{pid}-{_begun(pid) or 0}-{secrets.token_hex(4)}.tmp"


@cache
def clear_once(folder: Path) -> None:
    """Remove the drafts of dead processes, once per folder and process."""
    for path in list(folder.glob(".linnet-*.tmp")):
        with suppress(OSError):  # another process was faster, or it is not ours to remove
            if _is_left(path):
                _remove(path)


def _is_left(path: Path) -> bool:
    """Whether the owner of a draft is dead.

    This is known for processes of this user on this machine. Others, as on a shared disk, count as dead if the draft
    has not changed for a day.
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
    """8 hexadecimal digits for this boot and container, within which process ids are unique; a constant without
    /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return _UNKNOWN
    return hashlib.sha256(f"{boot} {numbers}".encode()).hexdigest()[:8]


def _begun(pid: int) -> str | None:
    """The start time of a process in kernel ticks, which distinguishes reused process ids; None if it is dead."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return told.rpartition(")")[2].split()[19]
