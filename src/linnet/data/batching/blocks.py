"""Plans for shards that are read from front to end: only a few shards are in use at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from linnet.data.batching.arrays import Ints, digest_of, shuffled
from linnet.data.batching.lengths import Lengths
from linnet.data.batching.plan import Plan, Planner
from linnet.errors import OptionError


@dataclass(frozen=True, eq=False)
class Blockwise:
    """Plans whole shards together in blocks, in random order, each block as `inner` would plan a corpus.

    `lengths` is the table that `inner` was made from; its parts are the shards (`read_index`). A block takes shards
    until it holds `least` utterances (the last one also what remains): a reader or a cache needs to hold one block,
    whose shards it reads in sequence. An utterance that a block leaves out goes into the next one.

    Raises:
        OptionError: the table does not say which shard a row came from.
    """

    inner: Planner
    lengths: Lengths
    least: int = 10_000

    def __post_init__(self) -> None:
        if not self.lengths.parts:
            raise OptionError("the lengths do not say which shard a row came from: read them by read_index.")

    @property
    def rows(self) -> Ints:
        """All utterances that can be planned."""
        return self.inner.rows

    @property
    def limits(self) -> tuple[float, ...]:
        """The limits of the batches."""
        return self.inner.limits

    @property
    def digest(self) -> str:
        """Hash of all that the plan depends on but the limits."""
        return digest_of(f"{self.inner.digest} {self.lengths.digest} {self.least}")

    def with_limits(self, limits: Sequence[float]) -> Blockwise:
        """The same blocks with other limits of batches."""
        return replace(self, inner=self.inner.with_limits(limits))

    def shrunk(self, number: int) -> Blockwise:
        """The same blocks with smaller batches of one bin."""
        return replace(self, inner=self.inner.shrunk(number))

    def plan(self, rows: Ints, world: int, random: np.random.Philox) -> Plan:
        """An epoch that has each row exactly once, block after block."""
        edges = np.cumsum([0, *(count for _, count in self.lengths.parts)])
        rows = np.sort(rows)
        begins = np.searchsorted(rows, edges)
        order = shuffled(random, len(self.lengths.parts))
        plans: list[Plan] = []
        pool, behind = rows[:0], 0
        for shard in order:
            pool = np.concatenate([pool, rows[begins[shard] : begins[shard + 1]]])
            behind += int(begins[shard + 1] - begins[shard])
            if len(pool) >= self.least and len(rows) - behind >= self.least:
                plans.append(self.inner.plan(pool, world, random))
                pool = plans[-1].left_out
        return _joined([*plans, self.inner.plan(pool, world, random)])


def _joined(plans: Sequence[Plan]) -> Plan:
    """Plans one after the other; what the last one leaves out stays left out."""
    shifts = np.cumsum([0, *(len(plan.rows) for plan in plans)]).tolist()
    shifted = list(zip(plans, shifts, strict=False))
    return Plan(
        np.concatenate([plan.rows for plan in plans]),
        np.concatenate([plan.starts + shift for plan, shift in shifted]),
        np.concatenate([plan.ends + shift for plan, shift in shifted]),
        np.concatenate([plan.bins for plan in plans]),
        plans[0].world,
        plans[-1].left_out,
    )
