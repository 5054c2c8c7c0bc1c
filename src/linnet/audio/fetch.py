"""Audio that is not a regular file (standard input, pipes, file objects, URLs), copied to a temporary file."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import selectors
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.error import HTTPError, URLError

from linnet.audio import web
from linnet.errors import AudioError, OptionError
from linnet.urls import public_name

WRITER = 5.0  # seconds to wait for a writer of a named pipe
SILENCE = 300.0  # seconds to wait for a writer that sends nothing
MOST_GB, MOST_MINUTES = 10.0, 240.0  # of a download, unless LINNET_DOWNLOAD_GB and LINNET_DOWNLOAD_MINUTES are set
_BLOCK = 1 << 20
FIRST_WORD = 5.0  # seconds after which the progress of a download is first logged; doubled each time
_WAY_OUT = {
    401: "check the login, given as in  http://user:password@host",
    404: "check the address",
    410: "check the address",
}


def check_path(path: str, stack: ExitStack) -> str:
    """A readable regular file for `path`; a pipe is copied first. Raises `AudioError`."""
    try:
        status = os.stat(path)  # noqa: PTH116  a path may hold bytes that pathlib would not show otherwise
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(
                f"{path}: is a folder, expected an audio file; give a file in it (linnet transcribe takes folders)"
            )
        if stat.S_ISFIFO(status.st_mode):
            return _spool_pipe(path, stack)
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{path}: is a device or a socket, expected an audio file; give a file, or - for stdin")
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
        raise AudioError("stdin: no input; pipe a file into it, as in  cat a.wav | linnet transcribe -")
    return spool(sys.stdin.buffer, "stdin", stack)


def spool_bytes(data: bytes, name: str, stack: ExitStack) -> str:
    """The bytes of an audio file as a temporary file."""
    return spool(BytesIO(data), name, stack)


def spool(stream: Any, name: str, stack: ExitStack) -> str:
    """Copy a binary file object, from its current position, to a temporary file that is removed when `stack` closes."""
    return _copy(_blocks(stream.read), name, stack)


def _blocks(read: Callable[[int], Any]) -> Iterator[Any]:
    while block := read(_BLOCK):
        yield block


def _spool_pipe(path: str, stack: ExitStack) -> str:
    """A named pipe, or the shell's `<(command)`, as a temporary file; waiting has a time limit."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening would otherwise wait for a writer
    with ExitStack() as opened:
        opened.callback(os.close, descriptor)
        selector = opened.enter_context(selectors.DefaultSelector())
        selector.register(descriptor, selectors.EVENT_READ)
        return _copy(_blocks(lambda count: _read_pipe(descriptor, count, selector, path)), path, stack)


def _read_pipe(descriptor: int, count: int, selector: selectors.BaseSelector, path: str) -> bytes:
    """The next bytes of the pipe; empty at its end."""
    patience, fault = WRITER, "no program writes to this pipe; start the writer first"
    while True:
        try:
            if block := os.read(descriptor, count):
                return block
        except BlockingIOError:  # a writer has it open
            patience, fault = SILENCE, "the program that writes to this pipe sends nothing; check what it waits for"
        if not selector.select(patience):
            raise AudioError(f"{path}: {fault} (waited {patience:g} s)")
        try:
            return os.read(descriptor, count)  # empty now: its writers are gone
        except BlockingIOError:
            continue


def _copy(blocks: Iterable[Any], name: str, stack: ExitStack) -> str:
    """Write all blocks to a temporary file."""
    size = 0
    try:
        file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="linnet-"))  # noqa: SIM115
        for block in blocks:
            if isinstance(block, str):
                raise AudioError(f"{name}: is open as text; open it in binary mode, as in  open(path, 'rb')")
            size += file.write(block)
        file.flush()
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise AudioError(
                f"{name}: no space for it in the temporary folder {tempfile.gettempdir()}; "
                "free some, or set TMPDIR to another folder"
            ) from error
        raise AudioError(f"{name}: reading stopped after {size} bytes ({_reason(error)}); try again") from error
    return file.name


def download(url: str, stack: ExitStack, *, public_only: bool = False) -> str:
    """Download an http(s) URL to a temporary file. Raises `AudioError` for a failure of the server or the network.

    A login in the URL is sent as an Authorization header. `public_only` refuses hosts that are not on the public
    internet, also after a redirect, for servers that fetch URLs of untrusted users. The progress of slow downloads goes
    to the log `linnet.audio`. Raises `OptionError` for invalid limits in the environment.
    """
    name = public_name(url)
    size = int(_limit("LINNET_DOWNLOAD_GB", MOST_GB) * 1e9)
    limits = web.DownloadLimits(size, 60 * _limit("LINNET_DOWNLOAD_MINUTES", MOST_MINUTES), public_only)
    agent = f"linnet/{sys.modules['linnet'].__version__}"
    try:
        with web.open_url(url, agent, limits) as response:
            return _receive(response, name, limits, stack)
    except AudioError:
        raise
    except HTTPError as error:
        error.close()
        way_out = _WAY_OUT.get(error.code, "check that it is public, or download it first")
        raise AudioError(f"{name}: the server answered {_status(error.code)}; {way_out}") from error
    except (ValueError, http.client.InvalidURL):  # their messages quote the URL
        raise AudioError(f"{name}: is not a valid URL; check it, and write special characters as %40") from None
    except (OSError, http.client.HTTPException) as error:
        raise AudioError(f"{name}: cannot be downloaded ({_reason(error)}); check the URL and the network") from error


def _receive(response: http.client.HTTPResponse, name: str, limits: web.DownloadLimits, stack: ExitStack) -> str:
    """The body of a response as a temporary file."""
    if any(key.lower().startswith("icy-") for key in response.headers):
        raise AudioError(f"{name}: is an endless radio stream; record a part of it to a file first")
    promised = response.length
    blocks = _watched(web.body(response), name, limits.size, promised)
    try:
        path = _copy(blocks, name, stack)
    except (EOFError, zlib.error) as error:
        raise AudioError(f"{name}: its gzip encoding is truncated or damaged; try again") from error
    if promised and response.length:
        raise AudioError(
            f"{name}: the download broke off after {promised - response.length} of {promised} bytes; try again"
        )
    return path


def _watched(blocks: Iterable[bytes], name: str, most: int, promised: int | None) -> Iterator[bytes]:
    """Pass on the blocks of a download, with a size limit and progress in the log."""
    size, begun, word = 0, time.monotonic(), FIRST_WORD
    for block in blocks:
        size += len(block)
        if max(size, promised or 0) > most:
            raise AudioError(
                f"{name}: is larger than {most / 1e9:g} GB, the limit that LINNET_DOWNLOAD_GB sets; "
                "raise it, or download it first"
            )
        if time.monotonic() - begun > word:
            word *= 2
            whole = f" of {promised / 1e6:.1f}" if promised else ""
            logging.getLogger("linnet.audio").info("%s: %.1f%s MB downloaded", name, size / 1e6, whole)
        yield block


def _limit(variable: str, usual: float) -> float:
    """A positive number from the environment."""
    text = os.environ.get(variable, "").strip()
    try:
        number = float(text or usual)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise OptionError(f"{variable}={text}: expected a number above 0, such as {usual:g}")
    return number


def _status(code: int) -> str:
    """The status in our words, since the server's may quote the request."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _reason(error: BaseException) -> str:
    """The message of the innermost network error."""
    if isinstance(error, URLError):
        return _reason(error.reason) if isinstance(error.reason, BaseException) else error.reason
    if isinstance(error, TimeoutError):
        return f"no answer within {web.TIMEOUT:.0f} s"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
