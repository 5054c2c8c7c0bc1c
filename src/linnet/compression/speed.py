"""The computation of an encoder, before and after: multiply-adds, and time on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from linnet.arrays import Array
from linnet.audio.mel import log_mel
from linnet.compression.job import LayerReport, put_in
from linnet.compression.subject import Example, Subject
from linnet.engines.choice import EngineConfig, build_engine, choose
from linnet.engines.protocol import EncoderEngine
from linnet.models.families import WHISPER, family_of
from linnet.models.lowrank.layers import parameters_of
from linnet.models.resolve import ModelRef
from linnet.notices import Notify, ignore
from linnet.timing import PairedTimes, time_in_turn

COMPUTE_TYPES = ("f32", "bf16", "int8")
ROUNDS = 7


def products(reports: Sequence[LayerReport]) -> tuple[int, int]:
    """Multiply-adds of these layers per frame: dense and compressed."""
    dense = sum(one.inputs * one.outputs for one in reports)
    made = 0
    for one in reports:
        if one.rank is None or one.form is None:
            made += one.inputs * one.outputs
        else:
            made += parameters_of(one.inputs, one.outputs, one.rank, one.form)
    return dense, made


@dataclass(frozen=True)
class EncoderTime:
    """Milliseconds of both encoders for one window, as medians over alternating rounds, and the median of their
    ratios."""

    compute_type: str
    dense: float
    compressed: float
    speedup: float
    ratios: tuple[float, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, compute_type: str, times: PairedTimes) -> EncoderTime:
        """From the times of the dense encoder and the compressed one."""
        dense, compressed = times.medians
        return cls(compute_type, 1000 * dense, 1000 * compressed, times.speedup, times.ratios)


@torch.no_grad()
def time_layers(
    subject: Subject, layers: Mapping[str, nn.Module], example: Example, *, rounds: int = ROUNDS
) -> EncoderTime:
    """Time one window in PyTorch, dense and with these layers, in turn; for models of any family."""

    def with_layers(_: int) -> None:
        with put_in(subject, layers):
            subject.encode(example)

    return EncoderTime.of("f32, PyTorch", time_in_turn(lambda _: subject.encode(example), with_layers, rounds))


def time_encoders(
    models: tuple[ModelRef, ModelRef],
    *,
    compute_types: Sequence[str] = COMPUTE_TYPES,
    threads: int | None = None,
    rounds: int = ROUNDS,
    notify: Notify | None = None,
) -> list[EncoderTime]:
    """Time one full window of noise through both Whisper encoders on the CPU, in turn.

    Empty for models of other families. Raises `ModelError`.
    """
    say = notify or ignore
    if any(family_of(ref.path) is not WHISPER for ref in models):
        return []
    found = []
    for kind in compute_types:
        say(f"timing both encoders in {kind}")
        wanted = EngineConfig("auto", kind, threads)
        built = [build_engine(ref, "cpu", choose(ref, "cpu", wanted, ignore), ignore) for ref in models]
        (model, dense), (_, made) = built
        sound = np.random.default_rng(0).normal(0.0, 0.05, model.window_samples).astype(np.float32)
        features = dense.place(log_mel(sound, model.n_mels)[None])
        found.append(EncoderTime.of(kind, time_in_turn(_encoding(dense, features), _encoding(made, features), rounds)))
    return found


def _encoding(engine: EncoderEngine, features: Array) -> Callable[[int], object]:
    return lambda _: engine.encode(features)
