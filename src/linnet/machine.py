"""This machine: versions, cores, memory, precisions; parsing and formatting of memory sizes."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import OptionError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{name}i": 1024**power for power, name in enumerate("kmgt", 1)}


# --- versions


def versions(*packages: str) -> dict[str, str]:
    """The versions of installed packages, without importing them.

    Raises `importlib.metadata.PackageNotFoundError` for a missing one.
    """
    return {package: _version(package) for package in packages}


@cache
def _version(package: str) -> str:
    return metadata.version(package)


# --- cores


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware(device: str) -> str:
    """The hardware in words: a GPU's name, the CPU's with the usable cores, or `remote` for a service."""
    if device == "remote":
        return device
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    name = next(_cpuinfo("model name"), "") or platform.processor() or platform.machine() or "unknown CPU"
    return f"{name}, {usable_cores()} cores"


def cpu_flags() -> list[str]:
    """The processor's features by the kernel's names; empty if unknown."""
    return next((value.split() for name in ("flags", "Features") for value in _cpuinfo(name)), [])


def _cpuinfo(wanted: str) -> Iterator[str]:
    with suppress(OSError):  # only Linux has this file
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == wanted:
                yield value.strip()


# --- precisions


def working_dtypes(device: torch.device) -> list[str]:
    """Those of `DTYPES` in which a device multiplies matrices, by trial."""
    import torch

    working = []
    for dtype in DTYPES:
        with suppress(RuntimeError):
            square = torch.eye(8, device=device, dtype=getattr(torch, dtype))
            if bool(torch.equal(square @ square, square)):
                working.append(dtype)
    return working


# --- memory


def free_memory() -> int | None:
    """Free bytes of the system, or of the container if that is less; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such file, or `max`: no limit
        return free
    return max(0, min(free, limit - used))


def peak_memory() -> int | None:
    """The peak memory of this process in bytes; None if unknown."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def parse_bytes(text: str) -> int:
    """Bytes from text such as `40GB`, `500 MB` or `24GiB`.

    >>> parse_bytes("1.5 GB"), parse_bytes("2KiB")
    (1500000000, 2048)

    Raises:
        OptionError: the text has another form.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = found and _UNITS.get(found[2].lower())
    if not found or not unit or not float(found[1]):
        raise OptionError(f"invalid amount of memory {text!r}: write it as 40GB, 500MB or 24GiB.")
    return int(float(found[1]) * unit)


def show_bytes(count: float) -> str:
    """Bytes for the user, in units of 1000.

    >>> show_bytes(7_340_000), show_bytes(1_234_000_000), show_bytes(80)
    ('7.3 MB', '1.23 GB', '80 B')
    """
    if count >= 999.95e6:
        return f"{count / 1e9:.2f} GB"
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= 0.99995 * size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"
