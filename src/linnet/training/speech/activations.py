"""A rough estimate of what a batch takes of memory beside weights and optimiser, from the widths of a model's layers.

For where nothing was measured: a model that is not there yet, or is of another machine. Every matrix is taken to keep
its input and its output for the gradient where one goes through it, and a convolution what is made of its output too
(normalised, activated); with gradient checkpointing each block keeps its input, and one block all of it at a time.
Where no gradient goes the widest layer is what there is at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from linnet.audio import SAMPLE_RATE
from linnet.data.batching import Shape
from linnet.models.families import FUSION, family_of_model
from linnet.training.speech.loss import LOGITS
from linnet.training.speech.model import Trainee

_MEL_FRAMES = 100  # a second
_FLOAT = 4  # bytes
_COPIES = 2  # of logits: themselves and their gradient
_FOLLOWING = 4  # of a convolution's output: itself, laid out for the norm, normalised, activated
_SAMPLE = 12  # bytes: a float and a whole number of the mask


def estimate_activations(trainee: Trainee, shape: Shape, precision: str) -> float:
    """About the bytes of a batch of n utterances of D seconds and T tokens at its peak."""
    utterances, seconds, tokens = shape
    model: Any = trainee.model
    family = family_of_model(model)
    fusion = family is FUSION
    samples = round((trainee.inputs.span or seconds) * SAMPLE_RATE)
    encoder, decoder = family.encoder(model), family.decoder(model)
    rates = list(_conv_rates(encoder, samples / SAMPLE_RATE))
    frames = model.windowing.frames(samples) if fusion else round(rates[-1][1] if rates else 50 * seconds)
    places = model.prompt_tokens(samples) + tokens if fusion else tokens
    heard = _trains(encoder)
    kept = [frames * _kept(encoder, heard)]
    convolved = [length * (conv.in_channels + _FOLLOWING * conv.out_channels) for conv, length in rates]
    widest = [frames * _widest(encoder), *convolved]
    if any(value.requires_grad for conv, _ in rates for value in conv.parameters()):
        again = {id(leaf) for block in _recomputed(encoder) for leaf in block.modules()}
        kept += [
            length * conv.in_channels if id(conv) in again else whole
            for (conv, length), whole in zip(rates, convolved, strict=True)
        ]
    if fusion:
        heard |= _trains(model.projector)
        kept.append(model.audio_rows(samples) * _kept(model.projector, heard))
    heard |= _trains(decoder)
    kept.append(places * _kept(decoder, heard))
    widest.append(places * _widest(decoder))
    vocabulary = len(model.get_output_embeddings().weight)
    logits = min(utterances * tokens * vocabulary, LOGITS if fusion else utterances * tokens * vocabulary)
    size = 2 if precision in ("bf16", "fp16") else _FLOAT
    layers = utterances * (_SAMPLE * samples + size * (sum(kept) + max(widest)))
    return float(layers + _COPIES * _FLOAT * logits)


def _trains(part: nn.Module) -> bool:
    return any(value.requires_grad for value in part.parameters())


def _width(leaf: Any) -> int:
    """The numbers that go into a matrix and come out of it, for each position."""
    rows, columns = leaf.weight.shape
    return int(rows + columns)


def _matrices(part: nn.Module) -> Iterator[Any]:
    yield from (leaf for leaf in part.modules() if isinstance(leaf, nn.Linear | Conv1D))


def _recomputed(part: nn.Module) -> Iterator[nn.Module]:
    for block in part.modules():
        if isinstance(block, GradientCheckpointingLayer) and block.gradient_checkpointing:
            yield block


def _kept(part: nn.Module, gradient: bool) -> int:
    """Numbers that a part keeps for the gradient, for each position."""
    if not gradient:
        return 0
    again = [block for block in _recomputed(part) if any(True for _ in _matrices(block))]
    if not again:
        return sum(map(_width, _matrices(part)))
    within = {id(leaf) for block in again for leaf in _matrices(block)}
    apart = sum(_width(leaf) for leaf in _matrices(part) if id(leaf) not in within)
    inputs = sum(min(int(min(leaf.weight.shape)) for leaf in _matrices(block)) for block in again)
    return apart + inputs + max(sum(map(_width, _matrices(block))) for block in again)


def _widest(part: nn.Module) -> int:
    return max(map(_width, _matrices(part)), default=0)


def _conv_rates(encoder: nn.Module, seconds: float) -> Iterator[tuple[Any, float]]:
    """The convolutions that shorten the sound, each with the places of its output, mel bands among them."""
    convs: list[Any] = [leaf for leaf in encoder.modules() if isinstance(leaf, nn.Conv1d | nn.Conv2d)]
    wave = bool(convs) and isinstance(convs[0], nn.Conv1d) and convs[0].in_channels == 1
    length, bands = seconds * (SAMPLE_RATE if wave else _MEL_FRAMES), 80.0
    for conv in convs:
        length /= conv.stride[0]
        flat = isinstance(conv, nn.Conv1d)
        bands /= 1 if flat else conv.stride[1]
        yield conv, length * (1.0 if flat else bands)
