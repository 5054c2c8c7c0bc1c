"""The batches of a training run, epoch after epoch, for accelerate or a custom loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from linnet.data.batching.arrays import Ints, digest_of, stream
from linnet.data.batching.mixing import Mixture
from linnet.data.batching.plan import Plan, Planner
from linnet.errors import OptionError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Leg:
    """A part of an epoch with the same world and limits."""

    planner: Planner
    plan: Plan
    begin: int  # steps of the epoch before it


class Batches:
    """A batch sampler of one global plan: `world` batches of one bin per step, in order of rank.

    Every process creates the same one without communication. As the `batch_sampler` of a `DataLoader` it works in one
    process; `Accelerator.prepare` gives the k-th batch to rank `k mod world` (with
    `DataLoaderConfiguration(even_batches=False)`), since there is `drop_last` and no `batch_size`. Other loops use
    `of_rank`.

    An iteration runs from the position of `seek` or `change` (initially step 0 of epoch 0) to the end of the epoch
    without moving that position: loaders read ahead, so the loop counts its steps and calls `seek` for the next epoch.

    `mixture` sets how often each source is sampled; by default an epoch has each row once.

    Raises:
        OptionError: fewer utterances than processes, or a world or seed that is out of range.
    """

    drop_last: Literal[True] = True

    def __init__(self, planner: Planner, *, world: int = 1, seed: int = 0, mixture: Mixture | None = None) -> None:
        if world < 1 or not 0 <= seed < 2**64:
            raise OptionError(f"a world of {world} with seed {seed}: give one process at least and a seed of 64 bits.")
        self._planner, self._world, self._seed, self._mixture = planner, world, seed, mixture
        self._epoch, self._step = 0, 0
        self._legs: list[_Leg] = []  # planned on demand: a resumed run never needs epoch 0
        if mixture is None:
            self._require_enough(planner.rows)

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._epoch

    @property
    def planner(self) -> Planner:
        """The current planner."""
        return self._planner

    @property
    def plan(self) -> Plan:
        """The plan of the rest of the epoch: its step 0 is step `begin` of the epoch."""
        return self._leg().plan

    @property
    def begin(self) -> int:
        """Steps of the epoch before the current plan: 0 unless it was changed in this epoch."""
        return self._leg().begin

    @property
    def steps(self) -> int:
        """Steps of the whole epoch."""
        return self.begin + self.plan.steps

    def __len__(self) -> int:
        """The batches of an iteration, over all ranks."""
        return (self.steps - self._step) * self._world

    def __iter__(self) -> Iterator[list[int]]:
        plan, first = self.plan, self._step - self.begin
        for step in range(first, plan.steps):
            for rank in range(self._world):
                yield plan.batch(step, rank).tolist()

    def of_rank(self, rank: int) -> Iterator[list[int]]:
        """The batches of one rank from the current step to the end of the epoch."""
        plan = self.plan
        for step in range(self._step - self.begin, plan.steps):
            yield plan.batch(step, rank).tolist()

    def seek(self, epoch: int, step: int = 0) -> None:
        """Go to a step of an epoch, without replaying. Raises `OptionError` for an unknown step."""
        if epoch != self._epoch or self.begin:
            self._epoch, self._legs, self._step = epoch, [], 0
        self._go(step)

    def change(self, step: int, *, world: int | None = None, planner: Planner | None = None) -> None:
        """Replan the rows of the steps from `step` on for another world or planner; call it on all processes.

        Rows already read are not repeated in this epoch, and none of the rest is lost.
        """
        self._go(step)
        self._world = world or self._world
        self._planner = planner or self._planner
        rows = self.plan.unread(step - self.begin)
        kept = [leg for leg in self._legs if leg.begin < step]
        self._legs = [*kept, self._planned(rows, len(kept), step)]

    def shrink(self, step: int, again: int | None = None) -> str:
        """Use smaller batches in the bin of `step`, which ran out of memory; returns a notice.

        Steps from `again` on (by default that one) are replanned.

        Raises:
            OptionError: that bin's batches cannot be smaller.
        """
        number = int(self.plan.bins[step - self.begin])
        smaller = self._planner.shrunk(number)
        before, after = self._planner.limits[number], smaller.limits[number]
        self.change(step if again is None else again, planner=smaller)
        return f"bin {number} has batches of {after:g} now, not of {before:g}"

    def state(self, step: int) -> dict[str, Any]:
        """The position after `step` steps of the epoch, as plain values for a checkpoint."""
        return {
            "seed": self._seed,
            "plan": self._digest(),
            "epoch": self._epoch,
            "step": step,
            "legs": [
                {"begin": leg.begin, "world": leg.plan.world, "limits": list(leg.planner.limits)}
                for leg in (*self._legs[:-1], self._leg())
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> int:
        """Resume from a `state`, replanning unread rows if the world has changed; returns the step of the epoch.

        Raises:
            OptionError: the state belongs to other data, bins or mixture, or to another seed.
        """
        if state["plan"] != self._digest() or state["seed"] != self._seed:
            raise OptionError(
                "the checkpoint's batches were planned from other lengths, bins, mixture or seed than this run's: "
                "use the original ones, or restart the epoch."
            )
        world = self._world
        first, *others = state["legs"]
        self._world = int(first["world"])
        self._planner = self._planner.with_limits(first["limits"])
        self._epoch, self._legs = int(state["epoch"]), []
        for leg in others:
            limits = self._planner.with_limits(leg["limits"])
            self.change(int(leg["begin"]), world=int(leg["world"]), planner=limits)
        self._go(int(state["step"]))
        if world != self._world:
            log.warning("the run continues with %d processes, not %d: the rest is planned again", world, self._world)
            self.change(int(state["step"]), world=world)
        return self._step

    def _go(self, step: int) -> None:
        if not self.begin <= step <= self.steps:
            raise OptionError(
                f"step {step} is not in epoch {self._epoch}'s plan of steps {self.begin} to {self.steps}."
            )
        self._step = step

    def _leg(self) -> _Leg:
        """The current leg; the first one of the epoch is planned on demand."""
        if not self._legs:
            mixture = self._mixture
            rows = self._planner.rows if mixture is None else mixture.rows(self._epoch, self._seed)
            self._require_enough(rows)
            self._legs = [self._planned(rows, 0, 0)]
        return self._legs[-1]

    def _planned(self, rows: Ints, number: int, begin: int) -> _Leg:
        plan = self._planner.plan(np.sort(rows), self._world, stream(self._seed, self._epoch, number))
        if len(plan.left_out):
            log.warning("epoch %d leaves %d utterances out: no batch can lend any", self._epoch, len(plan.left_out))
        return _Leg(self._planner, plan, begin)

    def _require_enough(self, rows: Ints) -> None:
        if len(rows) < self._world:
            raise OptionError(f"{len(rows)} utterances are too few for {self._world} processes: one each is needed.")

    def _digest(self) -> str:
        mixture = "" if self._mixture is None else self._mixture.digest
        return digest_of(f"{self._planner.digest} {mixture}")
