"""Bucketed batches: all batches of a step come from one bin, with the bin's batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from linnet.data.batching.arrays import Ints, digest_of, shuffled_in_groups
from linnet.data.batching.bins import Bins, fit_bins
from linnet.data.batching.cost import Cost, Peak, Shape
from linnet.data.batching.lengths import Lengths
from linnet.data.batching.plan import BinPart, Plan, assemble
from linnet.errors import OptionError


@dataclass(frozen=True, eq=False)
class Binning:
    """Utterances sorted into bins, with a batch size per bin.

    `of` [N] is the bin of each utterance, -1 if unused; `sizes` [B] the maximum batch size.
    """

    lengths: Lengths
    bins: Bins
    of: npt.NDArray[np.int16]
    sizes: Ints

    @cached_property
    def rows(self) -> Ints:
        """All utterances in bins."""
        return np.flatnonzero(self.of >= 0)

    @property
    def shapes(self) -> list[Shape]:
        """The largest batch of each bin: utterances, seconds, tokens."""
        return list(zip(self.sizes.tolist(), self.bins.seconds.tolist(), self.bins.tokens.tolist(), strict=True))

    @property
    def limits(self) -> tuple[float, ...]:
        """The batch sizes."""
        return tuple(self.sizes.tolist())

    @cached_property
    def digest(self) -> str:
        """Hash of the lengths, the bins and the assignment."""
        return digest_of(self.lengths.digest, self.bins.seconds, self.bins.tokens, self.of)

    def with_limits(self, limits: Sequence[float]) -> Binning:
        """The same bins with these batch sizes."""
        return replace(self, sizes=np.maximum(np.asarray(limits, np.int64), 1))

    def shrunk(self, number: int) -> Binning:
        """The same bins with batches of one of them reduced by 10 %, at least by one.

        Raises:
            OptionError: its batches hold a single utterance.
        """
        if self.sizes[number] == 1:
            shape = f"{self.bins.seconds[number]:g} s and {self.bins.tokens[number]} tokens"
            raise OptionError(f"one utterance of {shape} alone is too large: drop longer utterances, or free memory.")
        sizes = self.sizes.copy()
        sizes[number] = max(1, min(sizes[number] - 1, int(sizes[number] * 0.9)))
        return replace(self, sizes=sizes)

    def plan(self, rows: Ints, world: int, random: np.random.Philox) -> Plan:
        """An epoch with each row exactly once, every batch within its bin's limits.

        The remainder of a bin moves up to the next bin that fits. The remainder of the last bin becomes a step of
        smaller batches, borrowing from an earlier step if there are fewer utterances than ranks. Only if all batches
        hold a single utterance are up to `world` - 1 random rows skipped.

        Raises:
            OptionError: a row that is in no bin.
        """
        of, tokens = self.of[rows], self.lengths.tokens
        if of.min(initial=0) < 0:
            raise OptionError(f"row {rows[of.argmin()]} is in no bin: plan only rows that the bins were made for.")
        order = shuffled_in_groups(random, of)
        edges = np.searchsorted(of[order], np.arange(len(self.bins) + 1))
        rows = rows[order]
        parts: list[BinPart] = []
        left = rows[:0]
        for number, size in enumerate(self.sizes.tolist()):
            takes = tokens[left] <= self.bins.tokens[number]
            pool = np.concatenate([left[takes], rows[edges[number] : edges[number + 1]]])
            steps = len(pool) // (size * world)
            full = steps * size * world
            parts.append(BinPart(number, pool[:full], steps))
            left = np.concatenate([left[~takes], pool[full:]])
        if 0 < len(left) < world:
            left = _borrow(parts, left, world)
        if len(left) >= world:
            parts.append(BinPart(len(self.bins) - 1, left, 1))
            left = left[:0]
        return assemble(parts, world, random, left)


def _borrow(parts: list[BinPart], rows: Ints, world: int) -> Ints:
    """Fill up to one row per rank by borrowing from the last step with enough rows, if any."""
    for at in reversed(range(len(parts))):
        part = parts[at]
        step = len(part.rows) // max(part.steps, 1)  # rows of one step
        if step >= 2 * world:
            cut, lent = len(part.rows) - step, world - len(rows)
            rest = part.rows[cut + lent :]
            parts[at : at + 1] = [BinPart(part.bin, part.rows[:cut], part.steps - 1), BinPart(part.bin, rest, 1)]
            return np.concatenate([rows, part.rows[cut : cut + lent]])
    return rows


def bin_utterances(
    lengths: Lengths, cost: Cost | Peak, budget: float, *, rows: Ints | None = None, groups: int = 30, splits: int = 2
) -> Binning:
    """Fit bins to a corpus, each with the largest batch size within the budget.

    `rows` are those to train on, by default all; `groups` and `splits` are as for `fit_bins` (`splits=1` makes
    one-dimensional bins).

    Raises:
        OptionError: no utterance, or one that alone exceeds the budget.
    """
    rows = np.arange(len(lengths)) if rows is None else rows
    durations, tokens = lengths.durations[rows], lengths.tokens[rows]
    require_each_fits(lengths, cost, budget, rows)
    bins = fit_bins(durations, tokens, groups=groups, splits=splits)
    of = np.full(len(lengths), -1, np.int16)
    of[rows] = bins.find(durations, tokens)
    sizes = cost.most(bins.seconds, bins.tokens, budget)
    return Binning(lengths, bins, of, np.maximum(sizes, 1))


def require_each_fits(lengths: Lengths, cost: Cost | Peak, budget: float, rows: Ints) -> None:
    """Raise an `OptionError` that names the most expensive utterance if it alone exceeds the budget."""
    alone = cost.of(1, lengths.durations[rows], lengths.tokens[rows])
    if len(rows) and alone.max() > budget:
        row, many = int(rows[alone.argmax()]), int((alone > budget).sum())
        raise OptionError(
            f"row {row} ({lengths.durations[row]:g} s, {lengths.tokens[row]} tokens) alone costs {alone.max():.6g} "
            f"of a budget of {budget:.6g}, and {many} rows are over it: leave out the longest, or raise the budget."
        )
