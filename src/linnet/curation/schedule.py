"""Thresholds: one that keeps a share of the hours, one that grows from round to round, and shares that shrink.

Shapes: N recordings, K rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.pool import Flags, Numbers
from linnet.errors import OptionError
from linnet.settings import SHARE, require


def weighted_quantile(values: NDArray[Any], weights: NDArray[Any], share: float) -> float:
    """The least value such that those up to it have at least `share` of the weight; NaN values do not count.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.75)
    2.0
    """
    known = ~np.isnan(values) & (np.asarray(weights) > 0)
    if not known.any():
        return float("nan")
    order = np.argsort(values[known], kind="stable")
    reached = np.cumsum(np.asarray(weights, np.float64)[known][order])
    at = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12), "left"))
    return float(values[known][order][min(at, len(order) - 1)])


def threshold_for(scores: NDArray[Any], seconds: Numbers, keep: float) -> float:
    """The threshold above which the share `keep` of the seconds lies, or a little less where scores are equal."""
    return weighted_quantile(scores, seconds, 1.0 - keep)


def grown(first: float, growth: float, rounds: int) -> list[float]:
    """HEEP's thresholds of all rounds: each is the one before times `growth`.

    >>> [round(tau, 3) for tau in grown(0.3, 1.1, 3)]
    [0.3, 0.33, 0.363]
    """
    return [first * growth**round_ for round_ in range(rounds)]


def first_threshold(scores: NDArray[Any], seconds: Numbers, keep: float, growth: float, rounds: int) -> float:
    """The first threshold (`tau_0: auto`) from which growth leads to one that keeps the share `keep` in the last round.

    Raises:
        OptionError: scores are not positive, so that growth would not tighten the threshold.
    """
    last = threshold_for(scores, seconds, keep)
    if not last > 0:
        raise OptionError(
            f"a threshold that grows needs scores above 0, but {keep:.0%} of the hours lie above {last:g}; "
            "use scores between 0 and 1"
        )
    return last / growth ** (rounds - 1)


def growth_between(first_share: float, last_share: float, scores: NDArray[Any], seconds: Numbers, rounds: int) -> float:
    """The growth of a threshold that keeps `first_share` of the seconds in the first round, `last_share` in the last.

    Raises:
        OptionError: fewer than two rounds, or scores that are not positive.
    """
    first, last = threshold_for(scores, seconds, first_share), threshold_for(scores, seconds, last_share)
    if rounds < 2 or not 0 < first <= last:
        raise OptionError("growth between two shares needs two rounds, scores above 0 and a last share below the first")
    return float((last / first) ** (1.0 / (rounds - 1)))


@dataclass(frozen=True)
class KeepSchedule:
    """The share of the hours that is kept after each round: first * ratio ** round, never less than `last`.

    >>> KeepSchedule(first=0.8, ratio=0.5, last=0.3).shares(3)
    [0.8, 0.4, 0.3]
    """

    first: float = 0.8
    ratio: float = 0.7
    last: float = 0.2

    def __post_init__(self) -> None:
        require(self, SHARE, "first", "ratio", "last")

    def shares(self, rounds: int) -> list[float]:
        """The shares of all rounds."""
        return [max(self.last, self.first * self.ratio**round_) for round_ in range(rounds)]


def above(scores: NDArray[Any], seconds: Numbers, threshold: float, least: float = 0.0) -> tuple[Flags, float]:
    """Which recordings score above a threshold [N], and the threshold.

    It is lowered to the one that keeps the share `least` of the seconds where it would keep less: a round that
    overshoots is cut short, not undone. A score of NaN is never above.
    """
    total = float(seconds[~np.isnan(scores)].sum())
    kept = scores > threshold
    if float(seconds[kept].sum()) >= least * total:
        return kept, threshold
    order = np.lexsort((np.arange(len(scores)), -np.nan_to_num(scores, nan=-np.inf)))
    reached = np.cumsum(seconds[order])
    count = int(np.searchsorted(reached, least * total * (1 - 1e-12), "left")) + 1
    chosen = order[:count]
    kept = np.zeros(len(scores), np.bool_)
    kept[chosen] = ~np.isnan(scores[chosen])
    return kept, float(scores[chosen[-1]])
