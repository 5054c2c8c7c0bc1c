"""Baseline selections, each with the same seconds of audio. All are deterministic for a seed.

Shapes: N utterances of a pool. A selection is an ascending array of row numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linnet.errors import OptionError

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

DURATION_BINS = 16  # equally filled duration bins of a matched sample


@dataclass(frozen=True)
class Pool:
    """The rows to select from.

    `seconds` [N] are durations; `strata` [N] are names such as language and domain; `errors` [N] is the error rate of a
    proxy model on each utterance, if known; `valid` [N] are the rows that pass the gates; `clean` [N] those without an
    injected defect.
    """

    seconds: Floats
    strata: tuple[str, ...] = ()
    errors: Floats | None = None
    valid: NDArray[np.bool_] | None = None
    clean: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.seconds)


def fill(order: Rows, seconds: Floats, budget: float) -> Rows:
    """Rows of `order` that fit into `budget` seconds; rows that do not fit are skipped.

    >>> fill(np.array([2, 0, 1]), np.array([4.0, 3.0, 9.0]), 8.0).tolist()
    [0, 1]
    """
    left, chosen = budget, []
    shortest = float(seconds[order].min()) if len(order) else 0.0
    for row in order.tolist():
        if seconds[row] <= left:
            chosen.append(row)
            left -= seconds[row]
            if left < shortest:
                break
    return np.sort(np.array(chosen, np.int64))


def random(pool: Pool, budget: float, seed: int) -> Rows:
    """Any rows."""
    return fill(np.random.default_rng(seed).permutation(len(pool)), pool.seconds, budget)


def stratified(pool: Pool, budget: float, seed: int) -> Rows:
    """Random rows, each stratum with its share of the hours."""
    if not pool.strata:
        raise OptionError("stratified random needs rows with a language or a domain")
    names = np.array(pool.strata)
    share = budget / float(pool.seconds.sum())
    order = np.random.default_rng(seed).permutation(len(pool))
    parts = []
    for name in np.unique(names):
        own = order[names[order] == name]
        parts.append(fill(own, pool.seconds, share * float(pool.seconds[own].sum())))
    return np.sort(np.concatenate(parts))


def duration_matched(pool: Pool, budget: float, seed: int, like: Rows) -> Rows:
    """Random rows with the duration histogram of the selection `like`, to exclude length as an explanation."""
    if not len(like):
        return like
    edges = np.quantile(pool.seconds, np.linspace(0, 1, DURATION_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, pool.seconds, side="right")
    order = np.random.default_rng(seed).permutation(len(pool))
    wanted = np.bincount(bins[like], minlength=DURATION_BINS)
    drawn = np.concatenate([order[bins[order] == one][:count] for one, count in enumerate(wanted)])
    rest = np.setdiff1d(order, drawn)
    fitting = fill(np.random.default_rng(seed + 1).permutation(drawn), pool.seconds, budget)
    left = budget - float(pool.seconds[fitting].sum())
    return np.sort(np.concatenate([fitting, fill(rest, pool.seconds, left) if len(rest) else rest]))


def longest(pool: Pool, budget: float, seed: int) -> Rows:
    """The longest rows first, ties by the seed."""
    return fill(_sorted(-pool.seconds, seed), pool.seconds, budget)


def shortest(pool: Pool, budget: float, seed: int) -> Rows:
    """The shortest rows first, ties by the seed."""
    return fill(_sorted(pool.seconds, seed), pool.seconds, budget)


def by_error(pool: Pool, budget: float, seed: int, *, highest: bool) -> Rows:
    """The rows with the most, or fewest, errors of a proxy model."""
    if pool.errors is None:
        raise OptionError("a selection by errors needs the rows of an evaluation of the pool: give them under  errors:")
    known = np.where(np.isfinite(pool.errors), pool.errors, np.inf if not highest else -np.inf)
    return fill(_sorted(-known if highest else known, seed), pool.seconds, budget)


def among(pool: Pool, budget: float, seed: int, allowed: NDArray[np.bool_] | None, what: str) -> Rows:
    """Random rows among the allowed ones: those that pass the gates, or clean ones."""
    if allowed is None:
        raise OptionError(f"{what} needs the rows of this pool, which are not given")
    order = np.random.default_rng(seed).permutation(len(pool))
    return fill(order[allowed[order]], pool.seconds, budget)


def _sorted(values: Floats | Sequence[float], seed: int) -> Rows:
    ties = np.random.default_rng(seed).permutation(len(values))
    found: Rows = np.lexsort((ties, np.asarray(values))).astype(np.int64)
    return found
