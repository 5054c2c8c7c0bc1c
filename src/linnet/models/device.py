"""Choose device and precision."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import OptionError
from linnet.machine import DTYPES

if TYPE_CHECKING:
    import torch

GPU_FILES = ("nvidia0", "nvidiactl", "kfd", "dxg")  # of NVIDIA, AMD, and Windows below Linux, in /dev


def choose_device(name: str = "auto") -> tuple[str, str]:
    """The device by PyTorch's name, and the reason.

    `auto` is the first CUDA (or ROCm) device if there is one, else the CPU. Raises `OptionError` if a named device is
    missing.

    >>> choose_device("cpu")
    ('cpu', 'as asked')
    """
    if name == "cpu":
        return "cpu", "as asked"
    if name == "auto" and not _may_have_gpu():
        return "cpu", "no GPU was found"
    import torch  # takes a second to import

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda:0", f"a GPU was found: {torch.cuda.get_device_name(0)}"
        return "cpu", "no GPU was found"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"device {name!r} is unknown: use auto, cpu, cuda or cuda:N") from error
    if (missing := _missing(device)) is not None:
        raise OptionError(f"device {name} was requested, but {missing}: use --device cpu or --device auto")
    return str(device), "as asked"


def torch_device(name: str = "auto") -> torch.device:
    """The device of `choose_device` as PyTorch's object. Raises `OptionError`."""
    import torch

    return torch.device(choose_device(name)[0])


def _may_have_gpu() -> bool:
    """Whether PyTorch may find a GPU: on Linux each has a device file."""
    return sys.platform != "linux" or any((Path("/dev") / one).exists() for one in GPU_FILES)


def choose_dtype(name: str, device: str) -> tuple[torch.dtype, str]:
    """The precision of computation, and the reason.

    `auto` is bfloat16 on a GPU that supports it, float16 on an older one, float32 on a CPU. Raises `OptionError` for
    others.
    """
    import torch

    if name == "auto":
        if not device.startswith("cuda"):
            return torch.float32, "exact, and fast on every CPU"
        if torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None:
            return torch.bfloat16, "fast on this GPU"
        return torch.float16, "this GPU has no bfloat16"
    if name not in DTYPES:
        raise OptionError(f"dtype {name!r} is unknown: use auto, {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype, "as asked"


def _missing(device: torch.device) -> str | None:
    """Why a device cannot be used; None if it can."""
    import torch

    if device.type == "cpu" or (device.type == "mps" and torch.backends.mps.is_available()):
        return None
    if device.type != "cuda":
        return "this machine has none" if device.type == "mps" else "Linnet only supports cpu, cuda and mps"
    if torch.version.cuda is None and torch.version.hip is None:
        return f"this PyTorch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no usable GPU (see `linnet doctor`)"
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        return f"there are only {count} (counted from 0)"
    return None
