"""The plan of an epoch: the utterances of each rank's batch at each step.

U planned utterances, S steps, W processes (the world), S W batches
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from linnet.data.batching.arrays import Ints, shuffled, uniform


@dataclass(frozen=True, eq=False)
class Plan:
    """Batches in order: rank r has batch `step W + r`, with rows `rows[starts:ends]`.

    `rows` [U] are grouped by batch, `starts` and `ends` [S W] are indices into it, `bins` [S] is the bin of each step.
    `left_out` are rows without a step, fewer than W and almost always none.
    """

    rows: Ints
    starts: Ints
    ends: Ints
    bins: Ints
    world: int
    left_out: Ints

    @property
    def steps(self) -> int:
        """Steps of the epoch, the same for every rank."""
        return len(self.bins)

    def batch(self, step: int, rank: int) -> Ints:
        """The rows of one batch."""
        at = step * self.world + rank
        return self.rows[self.starts[at] : self.ends[at]]

    def unread(self, step: int) -> Ints:
        """The rows of the steps from `step` on and those left out, sorted."""
        from_here = slice(step * self.world, None)
        sizes = (self.ends - self.starts)[from_here]
        first = np.repeat(self.starts[from_here] - np.cumsum(sizes) + sizes, sizes)
        return np.sort(np.concatenate([self.rows[first + np.arange(len(first))], self.left_out]))


class Planner(Protocol):
    """A batching method: `Binning`, `Packing` or `JoinPlan`."""

    @property
    def rows(self) -> Ints:
        """All utterances that can be planned."""

    @property
    def limits(self) -> tuple[float, ...]:
        """The limits of a batch, as plain numbers for a checkpoint."""

    @property
    def digest(self) -> str:
        """Hash of everything that the plan depends on except the limits."""

    def with_limits(self, limits: Sequence[float]) -> Planner:
        """The same planner with other limits."""

    def shrunk(self, number: int) -> Planner:
        """The same planner with smaller batches in a bin, after one of its batches ran out of memory."""

    def plan(self, rows: Ints, world: int, random: np.random.Philox) -> Plan:
        """An epoch of these rows, which may repeat."""


@dataclass(frozen=True, eq=False)
class BinPart:
    """Rows of one bin that fill `steps` steps evenly."""

    bin: int
    rows: Ints
    steps: int


def assemble(parts: Sequence[BinPart], world: int, random: np.random.Philox, left_out: Ints) -> Plan:
    """The steps of all parts in a random order with a constant mixture of parts.

    A part of m steps puts one, at a random position, into each m-th of the epoch, so that all bins progress equally to
    within one step.
    """
    starts, ends, bins, places, begin = [], [], [], [], 0
    for part in parts:
        batches = part.steps * world
        edges = begin + np.arange(batches + 1) * len(part.rows) // max(batches, 1)
        starts.append(edges[:-1].reshape(part.steps, world))
        ends.append(edges[1:].reshape(part.steps, world))
        bins.append(np.full(part.steps, part.bin, np.int64))
        places.append((shuffled(random, part.steps) + uniform(random, part.steps)) / max(part.steps, 1))
        begin += len(part.rows)
    empty = np.zeros(0, np.int64)
    order = np.argsort(np.concatenate([np.zeros(0), *places]), kind="stable")
    return Plan(
        np.concatenate([empty, *(part.rows for part in parts)]),
        np.concatenate([empty.reshape(0, world), *starts])[order].ravel(),
        np.concatenate([empty.reshape(0, world), *ends])[order].ravel(),
        np.concatenate([empty, *bins])[order],
        world,
        left_out,
    )
