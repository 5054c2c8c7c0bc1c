"""Quantization by NNCF: of the weights alone, or of the encoder's weights and activations, calibrated on real audio.

Shapes: T mel frames, M mel bins.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from linnet.arrays import Array
from linnet.engines.openvino.runtime import OpenVinoMissing, no_telemetry
from linnet.engines.padding import FRAMES_PER_POSITION, full_layout
from linnet.machine import cpu_flags
from linnet.models.loading import first_line


def import_nncf() -> Any:
    """The `nncf` module. Raises `OpenVinoMissing`."""
    try:
        with no_telemetry(), _silent():
            import nncf
    except (ImportError, OSError) as error:
        raise OpenVinoMissing(
            f"NNCF cannot be used ({first_line(error)}): install it with  pip install nncf"
        ) from error
    return nncf


def compress_weights(model: Any) -> Any:
    """Store the weights of an `openvino.Model` in 8 bits, with a scale and a zero point per output channel.

    Products are unchanged. Raises `OpenVinoMissing`.
    """
    nncf = import_nncf()
    with _silent():
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)


def quantize(encoder: Any, windows: Sequence[Array]) -> Any:
    """Quantize an encoder to products of 8-bit weights and 8-bit activations, with ranges calibrated on these windows.

    `windows` are log-mel features [T, M], at least one. Activations are smoothed against the weights before
    (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438), and biases corrected afterwards. All products are quantized:
    excluding those of attention, the first convolution or the cross-attention keys did not improve the embedded model.
    Where the processor adds pairs of products in 16 bits, which overflow (x86 without VNNI), weights have 7 bits.
    Raises `ValueError` without a window, `OpenVinoMissing`.
    """
    if not windows:
        raise ValueError("at least one window is needed for calibration")
    nncf = import_nncf()
    samples = [_inputs(window) for window in windows]
    with _silent():
        return nncf.quantize(
            encoder,
            nncf.Dataset(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix(_overflow_fix())),
        )


def _overflow_fix() -> str:
    """NNCF's word for the layers whose weights lose a bit, lest sums of products overflow on this processor."""
    flags = cpu_flags()
    overflows = "avx2" in flags and not {"avx512_vnni", "avx_vnni"} & set(flags)
    return "enable" if overflows else "first_layer_only"


def _inputs(window: Array) -> dict[str, Any]:
    layout = full_layout((len(window) + 1) // FRAMES_PER_POSITION)
    features = np.ascontiguousarray(window, np.float32)[None]
    return {"features": features, "indices": layout.indices, "bias": layout.bias}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppress NNCF's log lines, its table and its progress bars, which go to stdout."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
