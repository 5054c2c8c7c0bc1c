"""Selecting utterances for training: not too long, and with a plausible amount of text.

N utterances, G groups of similar duration
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.data.batching.arrays import Floats, Ints
from linnet.data.batching.bins import equal_mass
from linnet.data.batching.lengths import Lengths

_GROUPS = 30
_LEAST_SPREAD = 0.01  # of log tokens per second


@dataclass(frozen=True, eq=False)
class Selection:
    """The `rows` kept, in order, and the `dropped` rows by reason."""

    rows: Ints
    dropped: Mapping[str, Ints]

    def lines(self) -> list[str]:
        """Notices: what was kept and dropped, why, and the first rows of each kind."""
        lines = [f"{len(self.rows)} utterances are kept"]
        for reason, rows in self.dropped.items():
            if len(rows):
                first = ", ".join(map(str, rows[:3])) + (", ..." if len(rows) > 3 else "")
                lines.append(f"{len(rows)} dropped: {reason} (rows {first})")
        return lines


def select(lengths: Lengths, *, longest: float = np.inf, deviations: float = 4.0) -> Selection:
    """Drop utterances without audio, longer than `longest` seconds, or with implausible tokens per second.

    Outliers are more than `deviations` standard deviations of log tokens per second from the mean at similar durations
    (30 groups of equal audio), such as texts of another recording. The paper's tool limits only the upper side of the
    rate itself; since rates are skewed, the logarithm allows one limit for both sides. Utterances without tokens
    (silence, noise) are kept.
    """
    d = lengths.durations
    empty, long = d <= 0, d > longest
    rows = np.flatnonzero(~(empty | long))
    score = rate_scores(d[rows].astype(np.float64), lengths.tokens[rows])
    reasons = {
        "no audio": np.flatnonzero(empty),
        f"longer than {longest:g} s": np.flatnonzero(long),
        "too many tokens per second": rows[score > deviations],
        "too few tokens per second": rows[score < -deviations],
    }
    return Selection(rows[np.abs(score) <= deviations], reasons)


def rate_scores(durations: Floats, tokens: npt.NDArray[np.int32]) -> Floats:
    """Standard deviations of each log rate [N] from the mean at similar durations; 0 where there are no tokens."""
    spoken = tokens > 0
    if not spoken.any():
        return np.zeros(len(durations))
    limits = np.unique(equal_mass(np.sort(durations), _GROUPS))
    group = np.searchsorted(limits, durations[spoken])
    rate = np.log(tokens[spoken] / durations[spoken])
    count = np.maximum(np.bincount(group, minlength=len(limits)), 1)
    rate -= (np.bincount(group, rate, len(limits)) / count)[group]
    spread = np.sqrt(np.bincount(group, rate * rate, len(limits)) / count)
    scores = np.zeros(len(durations))
    scores[spoken] = rate / np.maximum(spread, _LEAST_SPREAD)[group]
    return scores
