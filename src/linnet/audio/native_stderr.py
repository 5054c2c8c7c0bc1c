"""Silence libmpg123, which writes warnings about an mp3 to standard error and which libsndfile has no option for.

The C library's own `stderr` is redirected, not the file descriptor, and only while libsndfile works: messages of Python
and of child processes still appear.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_users = 0  # threads inside `silenced`
_kept: int | None = None  # the original stream


@cache
def _stream() -> tuple[Any, int] | None:
    """The C library's variable `stderr` and a stream to /dev/null; None if the variable cannot be set."""
    if sys.platform == "darwin":
        name = "__stderrp"
    elif platform.libc_ver()[0] == "glibc":  # elsewhere `stderr` is a constant
        name = "stderr"
    else:
        return None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    nowhere = library.fopen(b"/dev/null", b"w")
    return (ctypes.c_void_p.in_dll(library, name), nowhere) if nowhere else None


@contextmanager
def silenced() -> Iterator[None]:
    """Discard what C code prints to standard error; threads may overlap."""
    global _users, _kept  # noqa: PLW0603 - state of the process
    stream = _stream()
    with _lock:
        _users += 1
        if stream and _kept is None:
            _kept, stream[0].value = stream[0].value, stream[1]
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if stream and _users == 0:
                _kept, stream[0].value = None, _kept
