"""Times of layers in the engine that runs a model: OpenVINO if available for it, else PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from linnet.compression.allocation import STEP
from linnet.compression.latency import LayerTimes, Run, Runner, in_turn
from linnet.engines.choice import EngineConfig, choose, openvino_precision, torch_dtype
from linnet.errors import OptionError
from linnet.models.families import WHISPER, family_of
from linnet.models.lowrank.layers import PivotLinear
from linnet.models.resolve import ModelRef
from linnet.notices import ignore

if TYPE_CHECKING:
    from linnet.engines.openvino.formats import Precision

TIMED = ("auto", "f32", "bf16", "int8")


def engine_times(
    ref: ModelRef, compute_type: str, frames: int, *, threads: int | None = None, step: int = STEP
) -> LayerTimes:
    """The times of a model's encoder layers for this number of frames, in Linnet's engine for it on this CPU.

    Raises `OptionError` for a compute type that is unknown or not supported by the engine.
    """
    if compute_type not in TIMED:
        raise OptionError(f"layers are timed in {', '.join(TIMED[:-1])} or {TIMED[-1]}, not in {compute_type}")
    chosen = choose(ref, "cpu", EngineConfig("auto", compute_type, threads), ignore)
    where = f"{chosen.engine} cpu {chosen.precision}"
    if chosen.engine == "openvino":
        return LayerTimes(
            in_turn(openvino_runner(openvino_precision(chosen.precision), frames, threads)), where, step=step
        )
    engine = family_of(ref.path) is WHISPER
    return LayerTimes(in_turn(torch_runner(frames, torch_dtype(chosen), engine=engine)), where, step=step)


def openvino_runner(precision: Precision, frames: int, threads: int | None = None) -> Runner:
    """A function that runs a layer, in the form of a converted Whisper encoder, on random frames [1, frames,
    inputs]."""
    from linnet.engines.openvino.export import hold_weights, trace
    from linnet.engines.openvino.modules import framewise
    from linnet.engines.openvino.runtime import compile_model, encoder_compute, import_openvino

    def prepare(layer: nn.Module, activated: bool) -> Run:
        inputs = int(layer.in_features)  # type: ignore[arg-type]
        graph = framewise(layer)
        model = trace(nn.Sequential(graph, nn.GELU()) if activated else graph, (torch.zeros(1, 16, inputs),))
        model.reshape([-1, -1, inputs])
        request = compile_model(
            hold_weights(model, precision), encoder_compute(precision.compute), threads
        ).create_infer_request()
        given = np.random.default_rng(0).standard_normal((1, frames, inputs), np.float32)
        request.set_input_tensor(import_openvino().Tensor(given, shared_memory=False))
        run: Run = request.infer
        return run

    return prepare


def torch_runner(frames: int, dtype: torch.dtype = torch.float32, *, engine: bool) -> Runner:
    """A function that runs a layer on random frames, as in Linnet's Whisper encoder in PyTorch, or as in
    Transformers."""
    from linnet.engines.torch.ops import product
    from linnet.models.lowrank.rewriting import for_frames

    def prepare(layer: nn.Module, activated: bool) -> Run:
        layer = layer.to(dtype).requires_grad_(False)
        given = torch.randn(1, frames, int(layer.in_features), dtype=dtype)  # type: ignore[arg-type]
        activation = nn.GELU() if activated else None
        if engine:
            made = product(for_frames(layer), activation)
            return lambda: made(given)
        if isinstance(layer, PivotLinear):  # nothing is merged: outputs are reordered
            layer.order.copy_(torch.randperm(layer.out_features))
        return lambda: layer(given) if activation is None else activation(layer(given))

    return prepare
