"""Causal Whisper: an encoder whose frames see whole blocks of audio up to their own, never a later one.

Adapters that make a Whisper causal are saved as PEFT saves them, with `linnet_causal.json` beside: what the adapter was
trained for. A block-causal encoder gives the same frames for a recording and for any beginning of it that ends with a
block, so that each block is encoded once (Krichli et al. 2025, https://arxiv.org/abs/2508.12301).

Shapes: B windows, T mel frames (10 ms), M mel bins, P encoder frames (20 ms), D width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linnet.errors import ModelError
from linnet.files import write_atomic
from linnet.models.json_files import read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SPEC = "linnet_causal.json"
FRAME_SECONDS = 0.02
FRAME_SAMPLES = 320
LOOKAHEAD_SAMPLES = 200  # after the center of the mel frame behind a block, which its last encoder frame reads


@dataclass(frozen=True)
class CausalSpec:
    """What a causal adapter was trained for, and is served with. Lengths in encoder frames of 20 ms."""

    base: str  # the checkpoint that the adapter belongs to
    first_block: int = 30
    shortest_block: int = 5
    longest_block: int = 50
    default_block: int = 25
    speech_peak: float = 1.5  # log10 mel of a loud vowel: what the running maximum begins with
    tail_pad: int = 25  # frames of silence after the last sound
    prompts: bool = False  # whether it was trained with the text before a segment as its prompt
    right_context: int = 0  # frames behind it that a frame has seen when it is kept; newer ones are encoded again
    sure: float = 0.9  # the probability of each token of a word that is final at once, as found on validation speech
    language: str | None = None
    aligner: str = ""  # what gave the word times of its training data
    hours: float = 0.0  # of audio in training

    def save(self, folder: Path) -> None:
        """Write `linnet_causal.json`."""
        write_atomic(folder / SPEC, json.dumps(asdict(self), indent=2) + "\n")


def read_causal_spec(folder: Path) -> CausalSpec:
    """The spec of an adapter's folder. Raises `ModelError` where it is missing, damaged or of a newer Linnet."""
    raw = read_json(folder / SPEC)
    known = {field.name for field in fields(CausalSpec)}
    if unknown := sorted(set(raw) - known):
        raise ModelError(
            f"{folder / SPEC} has the unknown key {unknown[0]!r}: it was made by a newer Linnet; update it"
        )
    try:
        return CausalSpec(**raw)
    except TypeError as error:
        raise ModelError(f"{folder / SPEC} does not describe a causal model ({error})") from error


def block_ends(frames: int, blocks: Sequence[int]) -> NDArray[np.int64]:
    """For each of P encoder frames [P] the end of its block: it sees the frames before that.

    `blocks` are the lengths of the blocks from the start; the last one is repeated.

    >>> block_ends(7, [3, 2]).tolist()
    [3, 3, 3, 5, 5, 7, 7]
    """
    missing = max(-(-(frames - sum(blocks)) // blocks[-1]), 0)
    lengths = np.array([*blocks, *[blocks[-1]] * missing], np.int64)
    ends: NDArray[np.int64] = np.minimum(np.repeat(lengths.cumsum(), lengths)[:frames], frames)
    return ends


def encode_causal(encoder: Any, features: Tensor, ends: Tensor) -> Tensor:
    """Encode features [B, T, M] with each frame seeing those before `ends` [P] or [B, P]; returns [B, P, D].

    `encoder` is Transformers' `WhisperEncoder`, also one with adapters: gradients flow through it. This is training's
    forward pass, and the oracle of the runtime, which encodes block by block. Masked to all frames it is the encoder.
    """
    import torch
    from torch.nn import functional

    x = features.to(encoder.conv1.weight.dtype).transpose(1, 2)
    x = functional.gelu(encoder.conv1(x))
    x = functional.gelu(encoder.conv2(x)).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    ends = ends.to(x.device).expand(x.shape[0], -1)
    seen = torch.arange(x.shape[1], device=x.device) < ends[:, :, None]
    mask = additive_mask(~seen, x.dtype)[:, None]
    x = functional.dropout(x, p=encoder.dropout, training=encoder.training)
    for layer in encoder.layers:
        out = layer(x, mask)
        x = out[0] if isinstance(out, tuple) else out
    hidden: Tensor = encoder.layer_norm(x)
    return hidden


def additive_mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """The additive attention mask: 0, or the lowest number where `hidden`."""
    import torch

    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)
