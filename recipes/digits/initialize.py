"""Where the weights of the embedded model start: in proportion to their fan-in, and with a sense of place.

Shapes: P encoder frames (20 ms), D width, F = D / 4 frequencies.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperForConditionalGeneration

from .tokens import Vocabulary

DISTANCES = (
    (-2, 2),
    (-5, 5),
    (-9, 9),
    (-3, 16),
)  # positions (20 ms) at which the heads of each encoder layer look first
SHARPNESS = 2.0
STEP = 3.0  # logits between a key before the query and one at its place


@torch.no_grad()
def initialize(model: WhisperForConditionalGeneration) -> None:
    """Weights in proportion to their fan-in (Glorot and Bengio 2010), and a sense of place from the start.

    Whisper's own 0.02 is meant for wide models and much data. Here a quarter and a quarter of the channels hold sines
    and cosines of the position (periods of 6 to 2500 positions), the others the sound; each encoder head begins by
    looking at a fixed distance (a fifth layer's first head at all that was before, to count it), half of the
    cross-attention heads at the place that the decoder has in mind, and a timestamp token begins as the position
    that it names. Everything but the sinusoids is then trained.
    """
    layers = model.config.encoder_layers + model.config.decoder_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d) and module is not model.proj_out:
            gain = 2.0**0.5 if isinstance(module, nn.Conv1d) else 1.0
            if name.endswith(("out_proj", "fc2")):
                gain /= layers**0.5
            nn.init.normal_(module.weight, std=gain * module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.model.decoder.embed_tokens.weight, std=0.06)
    nn.init.normal_(model.model.decoder.embed_positions.weight, std=0.06)
    _place_encoder(model.model.encoder)
    _place_decoder(model.model.decoder)


def sinusoids(positions: int, width: int) -> tuple[Tensor, Tensor]:
    """Positions [P, D] in the first half of each half of the channels, and their angular frequencies [F]."""
    count = width // 4
    frequencies = torch.exp(-math.log(400.0) * torch.arange(count) / (count - 1))
    angles = torch.arange(positions)[:, None] * frequencies
    table = torch.zeros(positions, width)
    table[:, :count] = angles.sin()
    table[:, width // 2 : width // 2 + count] = angles.cos()
    return table, frequencies


def _place_encoder(encoder: Any) -> None:
    positions, width = encoder.embed_positions.weight.shape
    table, frequencies = sinusoids(positions, width)
    placed = table.abs().sum(0) > 0
    encoder.embed_positions.weight.copy_(0.7 * table)
    encoder.conv2.weight[placed] = 0
    for layer, distances in zip(encoder.layers, itertools.cycle(DISTANCES), strict=False):
        attention = layer.self_attn
        attention.q_proj.weight.mul_(0.1)
        attention.k_proj.weight.mul_(0.1)
        for head, distance in zip(range(attention.num_heads), itertools.cycle(distances), strict=False):
            _look_at(attention, head, distance, frequencies)
        if layer is encoder.layers[-1] and len(encoder.layers) > len(DISTANCES):
            _look_before(attention, 0, frequencies, positions)
        attention.v_proj.weight[:, placed] = 0
        attention.out_proj.weight[placed] = 0
        layer.fc2.weight[placed] = 0


def _look_at(attention: Any, head: int, distance: int, frequencies: Tensor) -> None:
    """Let the product of query and key be the sum of cos(frequency * (query place + distance - key place))."""
    half = attention.k_proj.weight.shape[1] // 2
    for pair, frequency in enumerate(frequencies[: attention.head_dim // 2].tolist()):
        row = head * attention.head_dim + 2 * pair
        cosine, sine = SHARPNESS * math.cos(frequency * distance), SHARPNESS * math.sin(frequency * distance)
        query, key = attention.q_proj.weight, attention.k_proj.weight
        query[row, pair] += cosine
        query[row, half + pair] += sine
        query[row + 1, half + pair] += cosine
        query[row + 1, pair] -= sine
        key[row, pair] += SHARPNESS
        key[row + 1, half + pair] += SHARPNESS


def _look_before(attention: Any, head: int, frequencies: Tensor, positions: int) -> None:
    """Let the product of query and key tell keys before the query from later ones, so that the head can count.

    A step function of the distance, as the sum of sines that is nearest to it (least squares).
    """
    half, rows = attention.k_proj.weight.shape[1] // 2, attention.head_dim // 2
    frequencies = frequencies[:rows].double()
    distance = torch.arange(1 - positions, positions).double()
    waves = torch.sin(distance[:, None] * frequencies)
    moments = waves.T @ waves + torch.eye(rows, dtype=torch.double)
    amplitudes = torch.linalg.solve(moments, waves.T @ torch.tanh(distance / 3))
    query, key = attention.q_proj.weight, attention.k_proj.weight
    for pair, amplitude in enumerate(amplitudes.tolist()):
        size = (STEP * abs(amplitude)) ** 0.5 * attention.head_dim**0.25
        row, signed = head * attention.head_dim + 2 * pair, math.copysign(size, amplitude)
        query[row : row + 2] = 0
        key[row : row + 2] = 0
        query[row, pair] = signed
        key[row, half + pair] = size
        query[row + 1, half + pair] = -signed
        key[row + 1, pair] = size


def _place_decoder(decoder: Any) -> None:
    first = Vocabulary.build().first_time
    tokens = decoder.embed_tokens.weight
    table, frequencies = sinusoids(len(tokens) - first, tokens.shape[1])
    half = tokens.shape[1] // 2
    tokens[:, table.abs().sum(0) > 0] *= 0.2
    tokens[first:] *= 0.3
    tokens[first:] += 0.12 * table
    for layer in decoder.layers:
        attention = layer.encoder_attn
        pairs = min(attention.head_dim // 2, len(frequencies))
        for head, pair in itertools.product(range(attention.num_heads // 2), range(pairs)):
            channel, row = pair * len(frequencies) // pairs, head * attention.head_dim + 2 * pair
            attention.q_proj.weight[row : row + 2] *= 0.5
            attention.k_proj.weight[row : row + 2] *= 0.2
            for offset, place in ((0, channel), (1, half + channel)):
                attention.q_proj.weight[row + offset, place] += 1.0
                attention.k_proj.weight[row + offset, place] += 1.5
