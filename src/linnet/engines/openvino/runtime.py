"""Access to OpenVINO: imported late and without its telemetry; what this CPU can do; how models are compiled."""

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
    """Import OpenVINO's packages inside: they then take the stub that they bring for where their telemetry is absent.

    Without it `import openvino` alone writes a client id into the home folder and reports the import.
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
    """OpenVINO's entrance, one for the process: making a second one reads all plugins again."""
    return import_openvino().Core()


@lru_cache(maxsize=1)
def capabilities() -> frozenset[str]:
    """What OpenVINO says that this CPU computes fast: FP32, BF16, FP16, INT8 and so on."""
    return frozenset(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 (AVX512_BF16 or AMX)."""
    return "BF16" in capabilities()


@lru_cache(maxsize=1)
def bf16_pays() -> bool:
    """Whether large products in bfloat16 are faster here than in float32.

    Intel's AVX512_BF16 alone does as many operations a cycle as float32 does, and the conversions come on top: an
    encoder takes longer than in float32. With AMX, and on AMD's CPUs, it takes half of the time.
    """
    if not has_bf16():
        return False
    if "intel" not in str(core().get_property("CPU", "FULL_DEVICE_NAME")).lower():
        return True
    return "amx_bf16" in cpu_flags()


def encoder_compute(compute: str) -> str:
    """What an encoder's products are computed in, where `compute`, bf16 or f32, is wanted or whatever is faster."""
    return "f32" if compute == "bf16" and not bf16_pays() else compute


def cpu_key() -> str:
    """8 hexadecimal digits that change with the kind of this CPU, as the kernel tells it."""
    told = f"{core().get_property('CPU', 'FULL_DEVICE_NAME')} {sorted(capabilities())} {sorted(cpu_flags())}"
    return hashlib.sha256(told.encode()).hexdigest()[:8]


_GROUP = 128  # inputs that share a scale where activations are turned into 8 bits on the fly, in float32 products


def compile_model(model: Any, compute: str, threads: int | None, kept: Path | None = None) -> Any:
    """Compile for this CPU: one stream, products and states in `compute`, on so many threads or all cores.

    `model` is an `openvino.Model` or the path of one. In the folder `kept`, what was compiled before of the same file
    is found, and what is compiled now is left.

    Products in f32 of weights in 8 bits are computed in 8 bits where the CPU has VNNI: OpenVINO finds a scale for
    every 128 inputs of a row by itself. Its own choice, groups of 32, took 1.1 times as long in an encoder.
    """
    openvino = import_openvino()
    kind = getattr(openvino.Type, compute)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": kind,
        "KV_CACHE_PRECISION": kind,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if kept is not None:
        settings["CACHE_DIR"] = str(kept)
    return core().compile_model(model, "CPU", settings)
