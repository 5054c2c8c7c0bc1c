"""Times of a layer on this machine, dense and at each rank, in the engine that runs the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from linnet.compression.allocation import STEP
from linnet.compression.sites import Site
from linnet.models.lowrank.layers import Form, PivotLinear, low_rank_linear

POINTS = 8  # timed ranks per shape; times between them are interpolated
ROUNDS, SECONDS = 8, 0.3  # rounds per pair of layers: at least this number, and at least this many seconds
FASTER = 0.95  # of the dense layer's time: a factored layer must be faster than this to be worth its errors
DOUBT = 0.7  # of the dense layer's time: above it, a chosen rank is timed itself

Run = Callable[[], object]
Runner = Callable[[nn.Module, bool], Run]
Measure = Callable[[nn.Module, nn.Module, bool], tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    """What determines the time of a layer; `activated`: an activation follows, for which the order of outputs is
    free."""

    inputs: int
    outputs: int
    activated: bool

    @classmethod
    def of(cls, site: Site) -> Shape:
        """The shape of a layer of a model: the first one of an MLP is activated."""
        return cls(site.inputs, site.outputs, site.kind == "mlp" and site.outputs > site.inputs)

    def dense(self) -> nn.Linear:
        """A dense layer with random weights."""
        return nn.Linear(self.inputs, self.outputs)

    def factored(self, rank: int, form: Form) -> nn.Module:
        """A low-rank layer with random weights, and a random output order if that matters."""
        made = low_rank_linear(self.inputs, self.outputs, rank, form)
        if isinstance(made, PivotLinear) and not self.activated:
            made.order.copy_(torch.randperm(self.outputs, generator=torch.Generator().manual_seed(rank)))
        return made


def in_turn(runner: Runner, rounds: int = ROUNDS) -> Measure:
    """Time two layers in turn for a minimum number of rounds; returns the minimum seconds of each, since other load
    only adds.

    The runner of the dense layer is cached with the layer.
    """
    prepared: WeakKeyDictionary[nn.Module, Run] = WeakKeyDictionary()

    @torch.no_grad()
    def measure(dense: nn.Module, made: nn.Module, activated: bool) -> tuple[float, float]:
        if dense not in prepared:
            prepared[dense] = runner(dense, activated)
        runs = [prepared[dense], runner(made, activated)]
        times: tuple[list[float], list[float]] = ([], [])
        turn, started = 0, time.perf_counter()
        while turn <= rounds or time.perf_counter() - started < SECONDS:
            for run, kept in list(zip(runs, times, strict=True))[:: 1 if turn % 2 else -1]:
                begun = time.perf_counter()
                run()
                kept.append(time.perf_counter() - begun)
            turn += 1
        return min(times[0][1:]), min(times[1][1:])

    return measure


class LayerTimes:
    """The seconds of layers by shape and rank: some ranks of a shape are timed on its first use.

    `where` names the engine in reports. `measure` returns the seconds of a dense layer and a factored one.
    """

    def __init__(self, measure: Measure, where: str, *, step: int = STEP) -> None:
        self.where = where
        self._measure, self._step = measure, step
        self._dense: dict[Shape, float] = {}
        self._layers: dict[Shape, nn.Linear] = {}
        self._shares: dict[tuple[Shape, Form], dict[int, float]] = {}  # of the dense layer's time, by rank

    def dense(self, site: Site) -> float:
        """Seconds of the dense layer."""
        shape = Shape.of(site)
        if shape not in self._dense:
            self._table(shape, "pair")
        return self._dense[shape]

    def seconds(self, site: Site, rank: int, form: Form) -> float:
        """Seconds at a rank: measured, or interpolated. A higher rank is never faster."""
        return self._share(Shape.of(site), rank, form) * self.dense(site)

    def is_faster(self, site: Site, rank: int, form: Form) -> bool:
        """Whether the layer needs at most 0.95 of the dense layer's time at this rank."""
        table = self._table(Shape.of(site), form)
        return table.get(rank, self._share(Shape.of(site), rank, form)) <= FASTER

    def settle(self, chosen: Iterable[tuple[Site, int, Form]]) -> int:
        """Time layers with an uncertain gain at their own rank; returns the number of new timings."""
        count = 0
        for site, rank, form in chosen:
            shape = Shape.of(site)
            if rank not in self._table(shape, form) and self._share(shape, rank, form) > DOUBT:
                self._time(shape, rank, form)
                count += 1
        return count

    def _share(self, shape: Shape, rank: int, form: Form) -> float:
        table = sorted(self._table(shape, form).items())
        if not table:
            return 1.0
        ranks, shares = zip(*table, strict=True)
        least = np.minimum.accumulate(shares[::-1])[::-1]  # disturbances only add: the higher rank's time is a bound
        return float(np.interp(rank, ranks, least))

    def _table(self, shape: Shape, form: Form) -> dict[int, float]:
        table = self._shares.setdefault((shape, form), {})
        if not table:
            most = min(shape.inputs, shape.outputs) - 1
            places = {max(self._step, round(most * place / POINTS)) for place in range(1, POINTS + 1)}
            for rank in sorted(places & set(range(1, most + 1))):
                self._time(shape, rank, form)
            if not table:  # narrower than a step: the layer stays dense
                self._dense.setdefault(shape, 0.0)
        return table

    def _time(self, shape: Shape, rank: int, form: Form) -> None:
        layer = self._layers.setdefault(shape, shape.dense())
        dense, made = self._measure(layer, shape.factored(rank, form), shape.activated)
        self._dense[shape] = min(dense, self._dense.get(shape, dense))
        self._shares[shape, form][rank] = made / dense
