"""Silence for libmpg123, which writes what it thinks of an mp3 to standard error, and which libsndfile gives no option.

Not the descriptor of standard error is turned away but the C library's own `stderr`, for as long as libsndfile is at
work: Python's messages, and those of child processes, go on.
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
_users = 0  # threads that are inside
_kept: int | None = None  # the true stream meanwhile


@cache
def _stream() -> tuple[Any, int] | None:
    """The C library's variable `stderr`, and a stream that goes nowhere; None where the variable cannot be set."""
    if sys.platform == "darwin":
        name = "__stderrp"
    elif platform.libc_ver()[0] == "glibc":  # elsewhere it is a constant
        name = "stderr"
    else:
        return None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    nowhere = library.fopen(b"/dev/null", b"w")
    return (ctypes.c_void_p.in_dll(library, name), nowhere) if nowhere else None


@contextmanager
def hushed() -> Iterator[None]:
    """While in here, what C code prints to standard error is dropped; threads may overlap."""
    global _users, _kept  # noqa: PLW0603 - it is the process's
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
