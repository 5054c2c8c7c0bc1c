"""Compares the padding waste of batching methods on a corpus.

U planned utterances, S steps, W processes
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.data.batching.arrays import Ints, shuffled, stream
from linnet.data.batching.binning import bin_utterances
from linnet.data.batching.chart import bars
from linnet.data.batching.cost import Cost, Peak
from linnet.data.batching.lengths import Lengths, measure_lengths
from linnet.data.batching.packing import pack_utterances
from linnet.data.batching.plan import Plan
from linnet.data.batching.selection import Selection, select
from linnet.data.manifest import read_manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PADDED_SECONDS = Cost(per_second=1.0, per_token=0.08)  # a token costs as much as 80 ms of audio
BUDGET = 600.0
_MEGABATCH = 50  # batches that are sorted together, as in Transformers' LengthGroupedSampler


@dataclass(frozen=True)
class Waste:
    """The waste of one batching method in an epoch.

    `audio_padding` and `text_padding` are the shares of padding in seconds and tokens, `batch` the mean number of
    utterances per batch, `steps` those of the epoch per rank, `budget_used` the mean cost of a batch over the budget.
    """

    name: str
    audio_padding: float
    text_padding: float
    batch: float
    steps: int
    budget_used: float


@dataclass(frozen=True, eq=False)
class BatchingReport:
    """Batching methods side by side, on the selected utterances."""

    rows: tuple[Waste, ...]
    selection: Selection
    lengths: Lengths
    cost: Cost | Peak
    budget: float
    world: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "utterances": len(self.selection.rows),
            "hours": self.lengths.hours,
            "dropped": {reason: len(rows) for reason, rows in self.selection.dropped.items()},
            "tokens": self.lengths.about,
            "cost": asdict(self.cost),
            "budget": self.budget,
            "world": self.world,
        }

    def table(self) -> list[tuple[str, ...]]:
        """A table as text, with its headings."""
        head = ("batches", "audio padding", "text padding", "mean batch", "steps per epoch", "budget used")
        return [head, *(_cells(row) for row in self.rows)]

    def picture(self) -> Figure:
        """A bar chart of padding and mean batch size."""
        names = [row.name for row in self.rows]
        columns = {
            "audio padding, %": [100 * row.audio_padding for row in self.rows],
            "text padding, %": [100 * row.text_padding for row in self.rows],
            "utterances in a batch": [row.batch for row in self.rows],
            "steps per epoch": [float(row.steps) for row in self.rows],
        }
        return bars(f"Batches of {len(self.selection.rows):,} utterances, budget {self.budget:g}", names, columns)


def bench_manifest(
    path: str | os.PathLike[str],
    *,
    count_tokens: Callable[[str], int] | None = None,
    longest: float = np.inf,
    cost: Cost | Peak = PADDED_SECONDS,
    budget: float = BUDGET,
    world: int = 1,
) -> BatchingReport:
    """`bench` of a manifest whose rows all have a duration and a text.

    Without `count_tokens` (a tokenizer's) tokens are estimated from the length of the text.

    Raises:
        LinnetError: the manifest cannot be read, a row is incomplete, or an utterance alone exceeds the budget.
    """
    lengths = measure_lengths(read_manifest(path), count_tokens)
    return bench(lengths, longest=longest, cost=cost, budget=budget, world=world)


def bench(
    lengths: Lengths,
    *,
    longest: float = np.inf,
    cost: Cost | Peak = PADDED_SECONDS,
    budget: float = BUDGET,
    world: int = 1,
    seed: int = 0,
) -> BatchingReport:
    """Plan one epoch by each method, on the same utterances and budget, and measure its waste.

    Fixed batch sizes are the largest that is safe for the longest utterance with the most tokens.

    Raises:
        OptionError: an utterance alone exceeds the budget.
    """
    selection = select(lengths, longest=longest)
    rows = selection.rows
    one = bin_utterances(lengths, cost, budget, rows=rows, splits=1)
    two = bin_utterances(lengths, cost, budget, rows=rows)
    pack = pack_utterances(lengths, cost, budget, rows=rows)
    size = max(1, int(cost.most(lengths.durations[rows].max(), lengths.tokens[rows].max(), budget)))

    def random() -> np.random.Philox:
        return stream(seed, 0, 0)

    mixed = rows[shuffled(random(), len(rows))]
    ways = [
        ("random, fixed size", _fixed(mixed, size, world)),
        ("grouped by length, fixed size", _fixed(_grouped(mixed, lengths, size), size, world)),
        (f"{len(one.bins)} bins of duration", one.plan(rows, world, random())),
        (f"{len(two.bins)} bins of duration and tokens", two.plan(rows, world, random())),
    ]
    wastes = [measure_waste(name, plan, lengths, cost, budget) for name, plan in ways]
    wastes.append(measure_packed("packed", pack.plan(rows, world, random()), lengths, cost, budget))
    return BatchingReport(tuple(wastes), selection, lengths, cost, budget, world)


def measure_waste(name: str, plan: Plan, lengths: Lengths, cost: Cost | Peak, budget: float) -> Waste:
    """The waste of a plan with padded batches."""
    order = np.argsort(plan.starts)
    starts, count = plan.starts[order], (plan.ends - plan.starts)[order]
    seconds, tokens = lengths.durations[plan.rows].astype(np.float64), lengths.tokens[plan.rows]
    longest, most = np.maximum.reduceat(seconds, starts), np.maximum.reduceat(tokens, starts)
    return Waste(
        name,
        float(1 - seconds.sum() / (count * longest).sum()),
        float(1 - tokens.sum(dtype=np.int64) / max((count * most).sum(), 1)),
        float(count.mean()),
        plan.steps,
        float(cost.of(count, longest, most).mean() / budget),
    )


def measure_packed(name: str, plan: Plan, lengths: Lengths, cost: Cost | Peak, budget: float) -> Waste:
    """The waste of a plan with packed batches."""
    batches = plan.steps * plan.world
    spent = cost.each(lengths.durations[plan.rows], lengths.tokens[plan.rows]).sum() + batches * cost.fixed
    return Waste(name, 0.0, 0.0, len(plan.rows) / batches, plan.steps, float(spent / batches / budget))


def _fixed(rows: Ints, size: int, world: int) -> Plan:
    """Batches of a fixed size in the given order; the last one may be smaller."""
    starts = np.arange(0, len(rows), size)
    steps = -(-len(starts) // world)
    return Plan(rows, starts, np.append(starts[1:], len(rows)), np.zeros(steps, np.int64), world, rows[:0])


def _grouped(rows: Ints, lengths: Lengths, size: int) -> Ints:
    """Rows sorted by duration, the longest first, within stretches of 50 batches."""
    stretch = np.arange(len(rows)) // (size * _MEGABATCH)
    return rows[np.lexsort((-lengths.durations[rows], stretch))]


def _cells(row: Waste) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.audio_padding:.1%}",
        f"{row.text_padding:.1%}",
        f"{row.batch:.1f}",
        f"{row.steps}",
        f"{row.budget_used:.0%}",
    )
