"""Packed batches without padding, for models whose attention separates utterances."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heapify, heappop, heappush

import numpy as np

from linnet.data.batching.arrays import Floats, Ints, digest_of, shuffled
from linnet.data.batching.binning import require_each_fits
from linnet.data.batching.cost import Cost, Peak
from linnet.data.batching.lengths import Lengths
from linnet.data.batching.plan import Plan
from linnet.errors import OptionError

STRETCH = 2000  # utterances packed at a time


@dataclass(frozen=True, eq=False)
class Packing:
    """Utterances whose costs add up to at most `capacity` per batch.

    `loads` [N] are the costs, `rows` those to train on.
    """

    loads: Floats
    rows: Ints
    capacity: float

    @property
    def limits(self) -> tuple[float, ...]:
        """The capacity."""
        return (self.capacity,)

    @cached_property
    def digest(self) -> str:
        """Hash of the loads and of the rows."""
        return digest_of("packing", self.loads, self.rows)

    def with_limits(self, limits: Sequence[float]) -> Packing:
        """The same utterances with another capacity."""
        return replace(self, capacity=float(limits[0]))

    def shrunk(self, number: int) -> Packing:  # noqa: ARG002 (there is one bin)
        """The same utterances with a capacity reduced by 10 %.

        Raises:
            OptionError: the most expensive utterance alone would exceed it.
        """
        capacity = self.capacity * 0.9
        if capacity < self.loads[self.rows].max():
            raise OptionError(
                "packs of the dearest utterance alone run out of memory: drop the longest, or free memory."
            )
        return replace(self, capacity=capacity)

    def plan(self, rows: Ints, world: int, random: np.random.Philox) -> Plan:
        """An epoch with each row exactly once; the largest packs are halved to give all ranks equally many.

        If too few packs can be halved, up to `world` - 1 rows are skipped.
        """
        order = rows[shuffled(random, len(rows))]
        packs: list[Ints] = []
        for begin in range(0, len(order), STRETCH):
            window = order[begin : begin + STRETCH]
            packs += [window[members] for members in fill(self.loads[window].tolist(), self.capacity)]
        return deal(packs, world, random)


def fill(loads: Sequence[float], capacity: float) -> list[list[int]]:
    """Positions per pack, by best-fit decreasing.

    No load may exceed the capacity.

    >>> fill([3.0, 5.0, 4.0, 2.0, 6.0], 10.0)
    [[4, 2], [1, 0, 3]]
    """
    packs: list[list[int]] = []
    rooms: list[tuple[float, int]] = []  # ascending
    for position in sorted(range(len(loads)), key=loads.__getitem__, reverse=True):
        load = loads[position]
        at = bisect_left(rooms, (load, -1))
        room, pack = rooms.pop(at) if at < len(rooms) else (capacity, len(packs))
        if pack == len(packs):
            packs.append([])
        packs[pack].append(position)
        insort(rooms, (room - load, pack))
    return packs


def deal(packs: list[Ints], world: int, random: np.random.Philox) -> Plan:
    """A plan of these packs in random order; the largest are halved to give all ranks equally many."""
    packs, left = _even([packs[at] for at in shuffled(random, len(packs))], world)
    ends = np.cumsum([0, *map(len, packs)])
    bins = np.zeros(len(packs) // world, np.int64)
    return Plan(np.concatenate([np.zeros(0, np.int64), *packs]), ends[:-1], ends[1:], bins, world, left)


def _even(packs: list[Ints], world: int) -> tuple[list[Ints], Ints]:
    """A multiple of `world` packs, by halving the largest; and the rest."""
    packs = list(packs)
    largest = [(-len(pack), at) for at, pack in enumerate(packs)]
    heapify(largest)
    while len(packs) % world and largest[0][0] < -1:
        _, at = heappop(largest)
        packs.append(packs[at][1::2])
        packs[at] = packs[at][::2]
        for half in (at, len(packs) - 1):
            heappush(largest, (-len(packs[half]), half))
    full = len(packs) // world * world
    return packs[:full], np.concatenate([np.zeros(0, np.int64), *packs[full:]])


def pack_utterances(lengths: Lengths, cost: Cost | Peak, budget: float, *, rows: Ints | None = None) -> Packing:
    """Plan packs of a corpus within the budget; `rows` are those to train on, by default all.

    Raises:
        OptionError: no utterance, or one that alone exceeds the budget.
    """
    rows = np.arange(len(lengths)) if rows is None else rows
    if not len(rows):
        raise OptionError("no utterance to pack.")
    require_each_fits(lengths, cost, budget, rows)
    return Packing(cost.each(lengths.durations, lengths.tokens), rows, budget - cost.fixed)
