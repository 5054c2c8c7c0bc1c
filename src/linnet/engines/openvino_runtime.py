"""Access to OpenVINO: imported late and without its telemetry; what this CPU can do; how models are compiled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from linnet.errors import LinnetError
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


def compile_model(model: Any, compute: str, threads: int | None) -> Any:
    """Compile for this CPU: one stream, products and states in `compute`, on so many threads or all cores."""
    openvino = import_openvino()
    kind = getattr(openvino.Type, compute)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": kind,
        "KV_CACHE_PRECISION": kind,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return core().compile_model(model, "CPU", settings)
