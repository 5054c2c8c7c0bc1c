"""What an encoder works, before and after: multiply-adds, and time on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from linnet.compression.job import LayerReport, put_in
from linnet.compression.subject import Example, Subject
from linnet.models.lowrank.layers import parameters_of

ROUNDS = 5


def products(reports: Sequence[LayerReport]) -> tuple[int, int]:
    """Multiply-adds of these layers for one frame: dense, and as they are made now."""
    dense = sum(one.inputs * one.outputs for one in reports)
    made = 0
    for one in reports:
        if one.rank is None or one.form is None:
            made += one.inputs * one.outputs
        else:
            made += parameters_of(one.inputs, one.outputs, one.rank, one.form)
    return dense, made


@torch.no_grad()
def encoder_seconds(
    subject: Subject, layers: Mapping[str, nn.Module], example: Example, *, rounds: int = ROUNDS
) -> tuple[float, float]:
    """Median seconds of encoding one window in PyTorch, dense and with these layers, one after the other in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        times[0].append(_timed(subject, example))
        with put_in(subject, layers):
            times[1].append(_timed(subject, example))
    dense, made = (statistics.median(one[1:]) for one in times)  # the first warms up
    return dense, made


def _timed(subject: Subject, example: Example) -> float:
    begun = time.perf_counter()
    subject.encode(example)
    return time.perf_counter() - begun
