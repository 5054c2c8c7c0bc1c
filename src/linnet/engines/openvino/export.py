"""Convert a Transformers Whisper module to two OpenVINO models: the encoder, and one stateful decoder step.

Shapes: B windows, N hypothesis rows, L new tokens, S tokens held, H heads, C channels of a head, P encoder frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linnet.engines.openvino.formats import ModelShape, Precision
from linnet.engines.openvino.modules import ExportDecoder, ExportEncoder
from linnet.engines.openvino.quantize import compress_weights, quantize
from linnet.engines.openvino.runtime import import_openvino
from linnet.engines.padding import full_layout

_FRAMES = 16  # lengths of the traced example: all are dynamic


@torch.no_grad()
def convert(module: Any, precision: Precision, windows: Sequence[Tensor] = ()) -> tuple[Any, Any]:
    """Convert a float32 module on the CPU: the encoder and the decoder, as `openvino.Model`.

    `windows`, log-mel features [T, M], calibrate w8a8. Raises `OpenVinoMissing`.
    """
    shape = ModelShape.of(module)
    encoder = _encoder(module, shape)
    decoder = _decoder(module, shape, torch.bfloat16 if precision.compute == "bf16" else torch.float32)
    encoder = quantize(encoder, windows) if precision.calibrated else hold_weights(encoder, precision)
    decoder = hold_weights(decoder, precision)
    return _typed(encoder, decoder, precision.compute)


def _encoder(module: Any, shape: ModelShape) -> Any:
    traced = ExportEncoder(module.model.encoder, module.model.decoder)
    layout = full_layout(_FRAMES // 2)
    model = trace(
        traced, (torch.zeros(2, _FRAMES, shape.mel_bins), *map(torch.from_numpy, (layout.indices, layout.bias)))
    )
    name_ports(model.inputs, ["features", "indices", "bias"])
    name_ports(model.outputs, [f"cross.{index}" for index in range(2 * shape.layers)])
    model.reshape({"features": [-1, -1, shape.mel_bins], "indices": [-1], "bias": [-1]})
    return model


def _decoder(module: Any, shape: ModelShape, cross_dtype: torch.dtype) -> Any:
    count = 2 * shape.layers
    held = [torch.zeros(4, shape.heads, 5, shape.channels) for _ in range(count)]
    cross = [torch.zeros(2, shape.heads, *_cross_shape(index, 8, shape.channels)) for index in range(count)]
    tokens = torch.zeros(4, 3, dtype=torch.int32), torch.arange(4, dtype=torch.int32), torch.zeros(2, 8)
    model = trace(ExportDecoder(module.model.decoder, module.proj_out, cross_dtype), (*tokens, *held, *cross))
    names = [[f"{kind}.{index}" for index in range(count)] for kind in ("held", "cross", "grown")]
    name_ports(model.inputs, ["tokens", "rows", "bias", *names[0], *names[1]])
    name_ports(model.outputs, ["logits", *names[2], *(f"query.{index}" for index in range(shape.layers))])
    shapes: dict[str, list[int]] = {"tokens": [-1, -1], "rows": [-1], "bias": [-1, -1]}
    shapes |= {name: [-1, shape.heads, -1, shape.channels] for name in names[0]}
    shapes |= {name: [-1, shape.heads, *_cross_shape(index, -1, shape.channels)] for index, name in enumerate(names[1])}
    model.reshape(shapes)
    make_stateful(model, dict(zip(names[0], names[2], strict=True)), shape)
    return model


def _cross_shape(index: int, positions: int, channels: int) -> tuple[int, int]:
    """Keys (even) are [C, P], values (odd) [P, C]."""
    return (positions, channels) if index % 2 else (channels, positions)


def trace(module: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """Trace a module with these example tensors; returns an `openvino.Model`. Raises `OpenVinoMissing`."""
    openvino = import_openvino()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warnings: all lengths in the example are made dynamic
        traced = torch.jit.trace(module.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced)


def name_ports(ports: list[Any], names: list[str]) -> None:
    """Name inputs or outputs."""
    for port, name in zip(ports, names, strict=True):
        port.get_tensor().set_names({name})


def make_stateful(model: Any, pairs: dict[str, str], shape: ModelShape) -> None:
    """Turn inputs and the outputs that continue them into states, initially empty with one row per row of tokens."""
    openvino = import_openvino()
    from openvino._offline_transformations import apply_make_stateful_transformation

    apply_make_stateful_transformation(model, pairs)
    op = openvino.opset13
    zero = op.constant(np.array([0], np.int64))
    rows = op.gather(op.shape_of(model.input("tokens"), output_type="i64"), zero, op.constant(np.int64(0)))
    empty = op.concat([rows, op.constant(np.array([shape.heads, 0, shape.channels], np.int64))], 0)
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            node.set_arguments([op.broadcast(op.constant(np.float32(0.0)), empty).output(0)])
    model.validate_nodes_and_infer_types()


def _typed(encoder: Any, decoder: Any, compute: str) -> tuple[Any, Any]:
    """Pass cross-attention keys and values from encoder to decoder as `compute`."""
    openvino = import_openvino()
    kind = getattr(openvino.Type, compute)
    results = openvino.preprocess.PrePostProcessor(encoder)
    for index in range(len(encoder.outputs)):
        results.output(index).tensor().set_element_type(kind)
    encoder = results.build()
    for port in decoder.inputs:
        if port.any_name.startswith("cross."):
            port.get_node().set_element_type(kind)
    decoder.validate_nodes_and_infer_types()
    return encoder, decoder


def hold_weights(model: Any, precision: Precision) -> Any:
    """The `openvino.Model` with weights in the bits of a precision; activations are unchanged."""
    if precision.weights == "f32":
        return model
    if precision.weights != "f16":
        return compress_weights(model)
    from openvino._offline_transformations import compress_model_transformation

    compress_model_transformation(model)
    return model
