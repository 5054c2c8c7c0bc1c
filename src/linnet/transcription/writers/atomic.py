"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from linnet.errors import OutputError
from linnet.files import draft_path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomic(path: str | os.PathLike[str], text: str) -> None:
    r"""Write UTF-8 text so that a reader, a crash or `kill -9` sees the old file or the whole new one.

    A draft in the same folder is filled, synchronised to the disk and renamed; on failure it is removed.
    What UTF-8 cannot hold (file names in another encoding) is written as `\udcxx`, which JSON reads back.

    Raises:
        OutputError: the disk is full, the folder is missing or closed to us; names the path and the way out.
    """
    target = Path(path)
    temporary = draft_path(target.parent)
    try:
        try:
            _fill(temporary, text.encode("utf-8", errors="backslashreplace"))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error


def _fill(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The message for a failed write: what failed, and what to do about that kind of failure."""
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
