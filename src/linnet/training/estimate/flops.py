"""Floating-point operations of a training step, from the shapes of a model's matrices.

A matrix of W entries takes 2 W operations per position, and as many again for the gradient of its input (if something
below is trained), for its own gradient (if it is trained), and for recomputation (gradient checkpointing). Attention
over N positions of width w takes 4 N^2 w, and twice that for its gradient. Additions, norms and activations are
ignored; causal attention counts in full, as in `torch.utils.flop_counter`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from linnet.audio import SAMPLE_RATE
from linnet.models.families import FUSION, family_of_model
from linnet.models.lowrank.modeling_linnet_low_rank import LOW_RANK, PivotLinear
from linnet.training.speech.loss import LOGITS

_MEL_FRAMES = 100  # a second
_QUERIES = ("q_proj", "c_attn")  # projections of queries, or of queries, keys and values
_ACROSS = "encoder_attn"  # cross-attention


@dataclass
class Stack:
    """Operations of layers: `each` per position, `pair` per pair of positions.

    For cross-attention: `frame` per encoder frame, `across` per position and frame.
    """

    each: float = 0.0
    pair: float = 0.0
    frame: float = 0.0
    across: float = 0.0

    def of(self, positions: int, frames: int = 0) -> float:
        """Operations for one utterance."""
        return positions * (self.each + self.pair * positions + self.across * frames) + self.frame * frames


@dataclass
class Front:
    """The layers below an encoder's blocks: convolutions with their operations per output position.

    `each` counts the other matrices, per frame; `bins` are the mel bins.
    """

    layers: list[tuple[Any, float]]
    each: float
    bins: int

    def of(self, samples: int, frames: int | None = None) -> tuple[float, int]:
        """Operations for a recording, and its number of frames, by default that of the convolutions' output."""
        first = self.layers[0][0] if self.layers else None
        wave = isinstance(first, nn.Conv1d) and first.in_channels == 1
        size = [samples if wave else samples * _MEL_FRAMES // SAMPLE_RATE]
        total = 0.0
        for layer, each in self.layers:
            size = _through(layer, size if isinstance(layer, nn.Conv1d) else [size[0], *(size[1:] or [self.bins])])
            total += each * prod(size)
        frames = size[0] if frames is None else frames
        return total + self.each * frames, frames


class StepFlops:
    """The operations of a training step of a model as frozen, adapted and checkpointed; it may be on the meta device.

    `span` is the length in seconds that all audio is padded to, if any. `idle` names parts without work in a step: an
    `encoder` whose frames are cached, a `language_model` without loss on its answers. Mel features and relative
    positions are ignored; blocks that downsample on the way (Granite) count as if the input were already short.
    """

    def __init__(self, model: Any, span: float | None = None, idle: Collection[str] = ()) -> None:
        model.train()
        self._model, self._span, self._idle = model, span, idle
        family = family_of_model(model)
        self._fusion = family is FUSION
        walk = _Walk()
        self._front, self._encoder = walk.encoder(family.encoder(model))
        self._projector = walk.stack(model.projector) if self._fusion else Stack()
        self._decoder = walk.stack(family.decoder(model))
        head = model.get_output_embeddings()
        self._head, self._logits = walk.matrix(head), 2.0 * _entries(head)
        self._pieces = LOGITS // len(head.weight)  # tokens beyond which logits are recomputed
        if "language_model" in idle:
            self._decoder, self._head, self._logits = Stack(), 0.0, 0.0

    def batch(self, utterances: int, seconds: float, tokens: int) -> float:
        """Operations of a batch of `utterances`, each padded to `seconds` and label `tokens`."""
        samples = round((self._span or seconds) * SAMPLE_RATE)
        encoding, frames = self.encoder(samples)
        if not self._fusion:
            return utterances * (encoding + self._decoder.of(tokens, frames) + self._head * tokens)
        places = self._model.prompt_tokens(samples) + max(tokens - 1, 0)
        each = encoding + self._projector.of(self._model.audio_rows(samples)) + self._decoder.of(places)
        return utterances * each + self._head_flops(utterances * tokens)

    def pack(self, seconds: Sequence[float], tokens: Sequence[int]) -> float:
        """Operations of a batch packed into one row of a fusion model's language model.

        The encoder still pads. Attention counts over the whole row, as computed without a kernel for packing.
        """
        samples = [round(length * SAMPLE_RATE) for length in seconds]
        longest = max(samples)
        padded = self.encoder(longest)[0] + self._projector.of(self._model.audio_rows(longest))
        places = sum(map(self._model.prompt_tokens, samples)) + sum(max(count - 1, 0) for count in tokens)
        return len(samples) * padded + self._decoder.of(places) + self._head_flops(sum(tokens))

    def _head_flops(self, tokens: int) -> float:
        """Operations of the output head for all label tokens of a batch."""
        return tokens * (self._head + (self._logits if tokens > self._pieces else 0.0))

    def encoder(self, samples: int) -> tuple[float, int]:
        """Operations of the encoder for one recording, and its frames."""
        if not self._fusion:
            front, frames = self._front.of(samples)
            return 0.0 if "encoder" in self._idle else front + self._encoder.of(frames), frames
        kind, encoding, frames = self._model.kind, 0.0, 0
        if "encoder" in self._idle:
            return encoding, self._model.windowing.frames(samples)
        for window in self._model.windowing.plan(samples):
            length = kind.padded(window.stop - window.start)
            within = kind.frames(length)
            encoding += self._front.of(length, within)[0] + self._encoder.of(within)
            frames += within
        return encoding, frames


class _Walk:
    """Walks modules in execution order and tracks whether something below is trained."""

    def __init__(self) -> None:
        self._below = False

    def matrix(self, module: Any, recomputed: bool = False, below: bool | None = None) -> float:
        """Operations of a matrix or kernel per output position; `below`: whether its input needs a gradient."""
        own = any(value.requires_grad for value in module.parameters())
        below = self._below if below is None else below
        times = 1 + below + own + (recomputed and (below or own))
        self._below |= own
        return 2.0 * _entries(module) * times

    def stack(self, *modules: nn.Module) -> Stack:
        """A decoder, a projector, or the blocks of an encoder."""
        found, below = Stack(), self._below
        for module in modules:
            for path, leaf, recomputed in _matrices(module):
                spread = _spread(module, path)
                if _ACROSS in path and (".k_proj" in path or ".v_proj" in path):
                    found.frame += spread * self.matrix(leaf, recomputed, None if "lora_B" in path else below)
                else:
                    found.each += spread * self.matrix(leaf, recomputed)
                name, width = _outputs(module, path, leaf)
                if name in _QUERIES:
                    pair = 4.0 * width * (1 + (2 + recomputed) * self._below)
                    found.across += pair if _ACROSS in path else 0.0
                    found.pair += 0.0 if _ACROSS in path else pair
        return found

    def encoder(self, module: Any) -> tuple[Front, Stack]:
        """The layers below the stack of blocks, and the blocks."""
        inside = _blocks(module)
        within = {id(part) for block in inside for part in block.modules()}
        front = Front([], 0.0, getattr(module.config, "num_mel_bins", 80))
        for _, leaf, recomputed in _matrices(module):
            if id(leaf) in within:
                continue
            each = self.matrix(leaf, recomputed)
            if isinstance(leaf, nn.Conv1d | nn.Conv2d):
                front.layers.append((leaf, each))
            else:
                front.each += each
        return front, self.stack(*inside)


def _blocks(encoder: nn.Module) -> list[nn.Module]:
    """The stack with the most weights in linear layers, not that of the convolutions below."""
    stacks = [part for part in encoder.modules() if isinstance(part, nn.ModuleList)]
    linear = [(sum(leaf.weight.numel() for leaf in s.modules() if isinstance(leaf, nn.Linear)), s) for s in stacks]
    return list(max(linear, key=lambda pair: pair[0], default=(0, nn.ModuleList()))[1])


def _matrices(module: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    """Path, module, and whether it is recomputed, of every module that multiplies by weights."""
    again: list[str] = []
    for path, place in module.named_modules():
        if isinstance(place, GradientCheckpointingLayer) and place.gradient_checkpointing and place.training:
            again.append(f"{path}." if path else "")
        if isinstance(place, nn.Linear | Conv1D | nn.Conv1d | nn.Conv2d):
            yield f".{path}", place, any(path.startswith(start) for start in again)


def _outputs(module: nn.Module, path: str, leaf: Any) -> tuple[str, float]:
    """The name of a layer and its output width, if this module produces it; a third for a fused one."""
    path = path.removesuffix(".base_layer")
    owner, _, name = path.rpartition(".")
    around: Any = module.get_submodule(owner.removeprefix("."))
    if isinstance(around, LOW_RANK):  # counted once, with its second half
        return ("" if name == "first" else owner.rpartition(".")[2]), around.out_features
    if isinstance(leaf, Conv1D):
        return name, leaf.nf / 3
    return name, getattr(leaf, "out_features", 0)


def _spread(module: nn.Module, path: str) -> float:
    """What a product takes beside its own matrix: of many rows a pivot layer multiplies by one that has its pivots."""
    owner, _, name = path.rpartition(".")
    around: Any = module.get_submodule(owner.removeprefix("."))
    if name != "rest" or not isinstance(around, PivotLinear) or type(around.rest) is not nn.Linear:
        return 1.0
    return around.out_features / around.rest.out_features


def _entries(module: Any) -> int:
    """Entries of a matrix or kernel, without magnitudes of a normalized one."""
    return max(int(value.numel()) for value in module.parameters())


def _through(layer: nn.Conv1d | nn.Conv2d, size: list[int]) -> list[int]:
    """The output size of a convolution."""
    padding = layer.padding if isinstance(layer.padding, tuple) else (0,) * len(size)
    axes = zip(size, layer.kernel_size, layer.stride, padding, strict=True)
    return [(length + 2 * around - kernel) // stride + 1 for length, kernel, stride, around in axes]
