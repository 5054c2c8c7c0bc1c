"""From a causal Whisper to two OpenVINO models: a block of the encoder, and a step of the decoder with its states.

Shapes: M mel bins, n frames of a block, P frames of room, N rows, L new tokens, S columns held, D width, H heads,
C channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch

from linnet.engines.openvino.causal_modules import ExportCausalDecoder, ExportCausalEncoder
from linnet.engines.openvino.export import hold_weights, make_stateful, name_ports, trace
from linnet.engines.openvino.formats import ModelShape, Precision
from linnet.engines.openvino.runtime import import_openvino

_BLOCK, _ROOM = 4, 8  # of the example that is traced: all lengths are dynamic


@torch.no_grad()
def convert_causal(module: Any, precision: Precision) -> tuple[Any, Any]:
    """Convert a float32 module on the CPU: the encoder and the decoder, as `openvino.Model`. Raises `OpenVinoMissing`.

    Keys and values are handed over in what `precision` computes in.
    """
    kind = torch.bfloat16 if precision.compute == "bf16" else torch.float32
    shape = ModelShape.of(module)
    encoder = hold_weights(_encoder(module, shape, kind), precision)
    decoder = hold_weights(_decoder(module, shape, kind), precision)
    return _typed(encoder, decoder, precision.compute)


def _encoder(module: Any, shape: ModelShape, kind: torch.dtype) -> Any:
    width, heads = module.config.d_model, module.config.encoder_attention_heads
    count = 2 * module.config.encoder_layers
    past = [torch.zeros(1, heads, _ROOM, width // heads) for _ in range(count)]
    example = (
        torch.zeros(1, 2 * _BLOCK + 2, shape.mel_bins),
        torch.zeros(1, width, 1),
        torch.arange(_BLOCK),
        torch.zeros(_ROOM),
        *past,
    )
    model = trace(ExportCausalEncoder(module.model.encoder, module.model.decoder, kind), example)
    names = [f"past.{index}" for index in range(count)]
    name_ports(model.inputs, ["mel", "before", "places", "bias", *names])
    crossing = [f"cross.{index}" for index in range(2 * shape.layers)]
    name_ports(model.outputs, ["last", *(f"new.{index}" for index in range(count)), *crossing])
    sizes = {name: [1, heads, -1, width // heads] for name in names}
    model.reshape({"mel": [1, -1, shape.mel_bins], "before": [1, width, 1], "places": [-1], "bias": [-1], **sizes})
    return model


def _decoder(module: Any, shape: ModelShape, kind: torch.dtype) -> Any:
    count = 2 * shape.layers
    held = [torch.zeros(2, shape.heads, 5, shape.channels) for _ in range(count)]
    sizes = [_cross(index, -1, shape.channels) for index in range(count)]
    cross = [torch.zeros(2, shape.heads, *_cross(index, _ROOM, shape.channels)) for index in range(count)]
    tokens, rows = torch.zeros(2, 3, dtype=torch.int32), torch.arange(2, dtype=torch.int32)
    positions, take = torch.zeros(2, 3, dtype=torch.int64), torch.arange(4)
    example = (tokens, rows, positions, torch.zeros(2, 1, 3, 8), take, torch.zeros(2, _ROOM), *held, *cross)
    model = trace(ExportCausalDecoder(module.model.decoder, module.proj_out, kind), example)
    names = [[f"{what}.{index}" for index in range(count)] for what in ("held", "cross", "grown")]
    name_ports(model.inputs, ["tokens", "rows", "positions", "mask", "take", "bias", *names[0], *names[1]])
    name_ports(model.outputs, ["logits", *names[2], *(f"query.{index}" for index in range(shape.layers))])
    shapes = {"tokens": [-1, -1], "rows": [-1], "positions": [-1, -1], "mask": [-1, 1, -1, -1], "take": [-1]}
    shapes |= {"bias": [-1, -1]} | {name: [-1, shape.heads, -1, shape.channels] for name in names[0]}
    shapes |= {name: [-1, shape.heads, *size] for name, size in zip(names[1], sizes, strict=True)}
    model.reshape(shapes)
    make_stateful(model, dict(zip(names[0], names[2], strict=True)), shape)
    return model


def _cross(index: int, positions: int, channels: int) -> tuple[int, int]:
    """Keys (even) are [C, P], values (odd) [P, C]."""
    return (positions, channels) if index % 2 else (channels, positions)


def _typed(encoder: Any, decoder: Any, compute: str) -> tuple[Any, Any]:
    """Declare that keys and values are kept as `compute`."""
    openvino = import_openvino()
    kind = getattr(openvino.Type, compute)
    results = openvino.preprocess.PrePostProcessor(encoder)
    for index in range(1, len(encoder.outputs)):
        results.output(index).tensor().set_element_type(kind)
    encoder = results.build()
    for model, begin in ((encoder, "past."), (decoder, "cross.")):
        for port in model.inputs:
            if port.any_name.startswith(begin):
                port.get_node().set_element_type(kind)
        model.validate_nodes_and_infer_types()
    return encoder, decoder
