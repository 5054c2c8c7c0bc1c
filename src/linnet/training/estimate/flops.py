"""How many floating-point operations a training step takes, from the shapes of a model's matrices alone.

A matrix of W entries takes 2 W operations at each position it is applied to, and as many again for each of: the
gradient of its input, where something below it is trained; its own gradient, where it is trained; being applied a
second time, where its layer is recomputed (gradient checkpointing) because the gradient goes through it. Attention over
N positions of width w takes 4 N^2 w, and twice that for its gradient. Additions, norms and activations are left out;
halves that a causal kernel may skip are counted, as `torch.utils.flop_counter` counts them.
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
from linnet.models.lowrank.modeling_linnet_low_rank import LOW_RANK
from linnet.training.speech.loss import LOGITS

_MEL_FRAMES = 100  # a second
_QUERIES = ("q_proj", "c_attn")  # the matrix of an attention's queries, or of queries, keys and values
_ACROSS = "encoder_attn"  # a decoder's attention to the encoder, whose keys and values are of the encoder's frames


@dataclass
class Stack:
    """Operations of layers: `each` for every position, `pair` for every two of them.

    Of a decoder's attention to an encoder: `frame` for every frame, `across` for every position and frame.
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
    """What lies below an encoder's blocks: convolutions, each with its operations for every place of its output.

    `each` is that of the matrices beside them, for every frame; `bins` are those of its mel features.
    """

    layers: list[tuple[Any, float]]
    each: float
    bins: int

    def of(self, samples: int, frames: int | None = None) -> tuple[float, int]:
        """Operations for a recording, and its frames: those given, or what the convolutions leave."""
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
    """The operations of a training step of a model as it is frozen, adapted and checkpointed.

    A skeleton on the meta device will do. `span` is the length in seconds that every sound is padded to, if there is
    one. `idle` names parts that do no work in a step: an `encoder` whose frames are cached, the `language_model` of a
    fusion model whose answers have no loss. Left out is what no matrix of the model says: mel features, relative
    positions; and blocks that shorten the sound on their way (Granite) count as if it were short from the start.
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
        self._pieces = LOGITS // len(head.weight)  # tokens from which on logits are made twice
        if "language_model" in idle:
            self._decoder, self._head, self._logits = Stack(), 0.0, 0.0

    def batch(self, utterances: int, seconds: float, tokens: int) -> float:
        """Operations of a batch of so many utterances, each padded to so many seconds and label tokens."""
        samples = round((self._span or seconds) * SAMPLE_RATE)
        heard, frames = self.encoder(samples)
        if not self._fusion:
            return utterances * (heard + self._decoder.of(tokens, frames) + self._head * tokens)
        places = self._model.prompt_tokens(samples) + max(tokens - 1, 0)
        each = heard + self._projector.of(self._model.audio_rows(samples)) + self._decoder.of(places)
        return utterances * each + self._told(utterances * tokens)

    def pack(self, seconds: Sequence[float], tokens: Sequence[int]) -> float:
        """Operations of a batch whose utterances lie end to end in one row before a fusion model's language model.

        The encoder pads them all the same. Attention is counted over the whole row, as it is computed without a kernel
        for packs.
        """
        samples = [round(length * SAMPLE_RATE) for length in seconds]
        longest = max(samples)
        padded = self.encoder(longest)[0] + self._projector.of(self._model.audio_rows(longest))
        places = sum(map(self._model.prompt_tokens, samples)) + sum(max(count - 1, 0) for count in tokens)
        return len(samples) * padded + self._decoder.of(places) + self._told(sum(tokens))

    def _told(self, tokens: int) -> float:
        """Operations of the output head for all label tokens of a batch."""
        return tokens * (self._head + (self._logits if tokens > self._pieces else 0.0))

    def encoder(self, samples: int) -> tuple[float, int]:
        """Operations of the encoder for one sound, and its frames."""
        if not self._fusion:
            front, frames = self._front.of(samples)
            return 0.0 if "encoder" in self._idle else front + self._encoder.of(frames), frames
        kind, heard, frames = self._model.kind, 0.0, 0
        if "encoder" in self._idle:
            return heard, self._model.windowing.frames(samples)
        for window in self._model.windowing.plan(samples):
            length = kind.padded(window.stop - window.start)
            within = kind.frames(length)
            heard += self._front.of(length, within)[0] + self._encoder.of(within)
            frames += within
        return heard, frames


class _Walk:
    """Goes through modules in the order in which they are run, and knows whether something below is trained."""

    def __init__(self) -> None:
        self._below = False

    def matrix(self, module: Any, recomputed: bool = False, below: bool | None = None) -> float:
        """Operations of a matrix, or a kernel, for every place of its output; `below`: what it reads has a gradient."""
        own = any(value.requires_grad for value in module.parameters())
        below = self._below if below is None else below
        times = 1 + below + own + (recomputed and (below or own))
        self._below |= own
        return 2.0 * _entries(module) * times

    def stack(self, *modules: nn.Module) -> Stack:
        """A decoder, a projector, or the blocks of an encoder."""
        found, heard = Stack(), self._below
        for module in modules:
            for path, leaf, recomputed in _matrices(module):
                if _ACROSS in path and (".k_proj" in path or ".v_proj" in path):
                    found.frame += self.matrix(leaf, recomputed, None if "lora_B" in path else heard)
                else:
                    found.each += self.matrix(leaf, recomputed)
                name, width = _outputs(module, path, leaf)
                if name in _QUERIES:
                    pair = 4.0 * width * (1 + (2 + recomputed) * self._below)
                    found.across += pair if _ACROSS in path else 0.0
                    found.pair += 0.0 if _ACROSS in path else pair
        return found

    def encoder(self, module: Any) -> tuple[Front, Stack]:
        """What lies below the stack of blocks, and the blocks."""
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
    """The stack that holds the most entries of matrices: not that of the convolutions below."""
    stacks = [part for part in encoder.modules() if isinstance(part, nn.ModuleList)]
    linear = [(sum(leaf.weight.numel() for leaf in s.modules() if isinstance(leaf, nn.Linear)), s) for s in stacks]
    return list(max(linear, key=lambda pair: pair[0], default=(0, nn.ModuleList()))[1])


def _matrices(module: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    """Path, module, and whether it is recomputed for the gradient, of everything that multiplies by weights."""
    again: list[str] = []
    for path, place in module.named_modules():
        if isinstance(place, GradientCheckpointingLayer) and place.gradient_checkpointing and place.training:
            again.append(f"{path}." if path else "")
        if isinstance(place, nn.Linear | Conv1D | nn.Conv1d | nn.Conv2d):
            yield f".{path}", place, any(path.startswith(start) for start in again)


def _outputs(module: nn.Module, path: str, leaf: Any) -> tuple[str, float]:
    """The name of a layer and its outputs, where this is the part of it that makes them; of a fused one, a third."""
    path = path.removesuffix(".base_layer")
    owner, _, name = path.rpartition(".")
    around: Any = module.get_submodule(owner.removeprefix("."))
    if isinstance(around, LOW_RANK):  # counted once, with its second half
        return ("" if name == "first" else owner.rpartition(".")[2]), around.out_features
    if isinstance(leaf, Conv1D):
        return name, leaf.nf / 3
    return name, getattr(leaf, "out_features", 0)


def _entries(module: Any) -> int:
    """Entries of a matrix or kernel; a normalized one has its magnitudes beside it."""
    return max(int(value.numel()) for value in module.parameters())


def _through(layer: nn.Conv1d | nn.Conv2d, size: list[int]) -> list[int]:
    """The size of a convolution's output."""
    padding = layer.padding if isinstance(layer.padding, tuple) else (0,) * len(size)
    axes = zip(size, layer.kernel_size, layer.stride, padding, strict=True)
    return [(length + 2 * around - kernel) // stride + 1 for length, kernel, stride, around in axes]
