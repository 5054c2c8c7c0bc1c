"""Access to OpenVINO: late import without its telemetry, capabilities of this CPU, and compilation."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from linnet.errors import LinnetError
from linnet.machine import cpu_flags
from linnet.models.loading import first_line

INSTALL = "pip install openvino nncf"


class OpenVinoMissing(LinnetError, ImportError):  # noqa: N818 (reads better where it is raised)
    """OpenVINO or NNCF cannot be imported; the text says how to install it."""


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import OpenVINO's packages in this context: they then use their own stub for missing telemetry.

    Otherwise `import openvino` alone writes a client id to the home folder and reports the import.
    """
    name = "openvino_telemetry"
    held = {key: sys.modules.pop(key) for key in [*sys.modules] if key.partition(".")[0] == name}
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        sys.modules.update(held)


@lru_cache(maxsize=1)
def import_openvino() -> Any:
    """The `openvino` module. Raises `OpenVinoMissing`."""
    try:
        with no_telemetry():
            import openvino
    except (ImportError, OSError) as error:
        raise OpenVinoMissing(f"OpenVINO cannot be used ({first_line(error)}): install it with  {INSTALL}") from error
    return openvino


@lru_cache(maxsize=1)
def core() -> Any:
    """OpenVINO's core, one per process, since each one reads all plugins."""
    return import_openvino().Core()


@lru_cache(maxsize=1)
def capabilities() -> frozenset[str]:
    """The precisions that this CPU computes fast, by OpenVINO: FP32, BF16, FP16, INT8 and so on."""
    return frozenset(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 (AVX512_BF16 or AMX)."""
    return "BF16" in capabilities()


@lru_cache(maxsize=1)
def bf16_pays() -> bool:
    """Whether large products in bfloat16 are faster than in float32 on this CPU.

    Intel's AVX512_BF16 alone does no more operations per cycle than float32 and needs conversions: an encoder takes
    longer than in float32. With AMX, and on AMD's CPUs, it takes half the time.
    """
    if not has_bf16():
        return False
    if "intel" not in str(core().get_property("CPU", "FULL_DEVICE_NAME")).lower():
        return True
    return "amx_bf16" in cpu_flags()


def encoder_compute(compute: str) -> str:
    """The precision of an encoder's products: `compute` (bf16 or f32), or f32 if that is faster."""
    return "f32" if compute == "bf16" and not bf16_pays() else compute


def cpu_key() -> str:
    """8 hexadecimal digits that change with the kind of this CPU, as reported by the kernel."""
    told = f"{core().get_property('CPU', 'FULL_DEVICE_NAME')} {sorted(capabilities())} {sorted(cpu_flags())}"
    return hashlib.sha256(told.encode()).hexdigest()[:8]


_GROUP = 128  # inputs that share a scale when activations are quantized on the fly, in float32 products
_SHAPES = 500  # maximum number of kernels prepared for shapes seen before


def compile_model(model: Any, compute: str, threads: int | None, kept: Path | None = None) -> Any:
    """Compile for this CPU: one stream, products and states in `compute`, on this number of threads or all cores.

    `model` is an `openvino.Model` or its path. The folder `kept` caches compiled models of the same file.

    f32 products with 8-bit weights are computed in 8 bits if the CPU has VNNI, with one scale per 128 inputs of a row.
    OpenVINO's default, groups of 32, took 1.1 times as long in an encoder. Its memory of kernels for the shapes seen is
    bounded: at its default of 5,000 it grew for hours of a stream, and was no faster.
    """
    openvino = import_openvino()
    kind = getattr(openvino.Type, compute)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": kind,
        "KV_CACHE_PRECISION": kind,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
        "CPU_RUNTIME_CACHE_CAPACITY": str(_SHAPES),
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if kept is not None:
        settings["CACHE_DIR"] = str(kept)
    return core().compile_model(model, "CPU", settings)
