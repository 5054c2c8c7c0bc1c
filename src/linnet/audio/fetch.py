"""Sounds that are not plain files yet: standard input, file objects, URLs. Each becomes a temporary file."""

from __future__ import annotations

import errno
import http.client
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from linnet.errors import AudioError

TIMEOUT = 30.0  # seconds without a byte from a server
_BLOCK = 1 << 20
_SAFE = "%/:=&?~#+!$,;'@()*[]"


def check_path(path: str, stack: ExitStack) -> str:
    """A readable regular file for `path`, spooled first where it is a pipe; `AudioError` says what else was found."""
    try:
        status = os.stat(path)  # noqa: PTH116  a path may hold bytes that pathlib would not show otherwise
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(
                f"{path}: is a folder, where one audio file is expected; "
                "give a file in it (linnet transcribe takes folders)"
            )
        if stat.S_ISFIFO(status.st_mode):
            with open(path, "rb") as pipe:  # noqa: PTH123
                return spool(pipe, path, stack)
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(
                f"{path}: is a device or a socket, where an audio file is expected; give a file, or - for stdin"
            )
        with open(path, "rb"):  # noqa: PTH123
            return path
    except (OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(_why_unreadable(path, error)) from error


def _why_unreadable(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return (
            f"{path!r}: there is no such file; check the path"
            if not path.strip()
            else (f"{path}: there is no such file; check the path")
        )
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; make the file and its folders readable, for example with  chmod u+r"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path!r}: cannot be opened ({reason}); check the path"


def spool_stdin(stack: ExitStack) -> str:
    """Standard input as a temporary file."""
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError("stdin: no sound comes in; pipe a file into it, as in  cat a.wav | linnet transcribe -")
    return spool(sys.stdin.buffer, "stdin", stack)


def spool_bytes(data: bytes, name: str, stack: ExitStack) -> str:
    """The bytes of an audio file as a temporary file."""
    return spool(BytesIO(data), name, stack)


def spool(stream: Any, name: str, stack: ExitStack) -> str:
    """Copy a binary file object from where it stands to a temporary file, removed when `stack` closes."""
    path, _ = _copy(stream.read, name, stack)
    return path


def _copy(read: Callable[[int], Any], name: str, stack: ExitStack) -> tuple[str, int]:
    """Path and size of a temporary file with all that `read` gives."""
    size = 0
    try:
        file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="linnet-"))  # noqa: SIM115
        while chunk := read(_BLOCK):
            if isinstance(chunk, str):
                raise AudioError(f"{name}: is open as text; open it in binary mode, as in  open(path, 'rb')")
            size += file.write(chunk)
        file.flush()
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise AudioError(
                f"{name}: no room for it in the temporary folder {tempfile.gettempdir()}; "
                "free some, or name another folder in TMPDIR"
            ) from error
        raise AudioError(f"{name}: reading stopped after {size} bytes ({_reason(error)}); try again") from error
    return file.name, size


def download(url: str, stack: ExitStack) -> str:
    """Fetch an http(s) URL to a temporary file; `AudioError` says what the server or the network did."""
    name = public_name(url)
    headers = {"User-Agent": f"linnet/{sys.modules['linnet'].__version__}", "Accept": "*/*"}
    try:
        request = Request(quote(url, safe=_SAFE), headers=headers)
        with urlopen(request, timeout=TIMEOUT) as response:
            if any(key.lower().startswith("icy-") for key in response.headers):
                raise AudioError(f"{name}: is a live radio stream without an end; record a part of it to a file first")
            path, size = _copy(response.read, name, stack)
            promised = response.headers.get("Content-Length", "")
    except AudioError:
        raise
    except HTTPError as error:
        error.close()
        hint = "check the address" if error.code in (404, 410) else "check that it is public, or download it first"
        raise AudioError(f"{name}: the server answered {error.code} {error.reason}; {hint}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AudioError(
            f"{name}: cannot be downloaded ({_reason(error)}); check the address and the network"
        ) from error
    if promised.isdigit() and size < int(promised):
        raise AudioError(f"{name}: the download broke off after {size} of {promised} bytes; try again")
    return path


def _reason(error: BaseException) -> str:
    """The innermost sentence of a network error."""
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def public_name(url: str) -> str:
    """The URL without user name and password, fit for messages and reports.

    >>> public_name("https://me:secret@example.org/a.wav?x=1")
    'https://example.org/a.wav?x=1'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
