"""HEEP (High Entropy Exponential Pruning): one score per recording, and a threshold that grows in each round.

    S(x) = a1 H_acoustic + a2 H_phonetic + a3 H_linguistic + a4 H_contextual + b MI(x, D)              (equation 1)
    S'(x) = S(x) + l_err ErrorRelevance(x, errors_k) + l_cross CrossLingualOverlap(x)
    D_(k+1) = {x in D_k : S(x) > tau_k},   tau_(k+1) = tau_k x growth                                  (equation 8)

Components are ranks from 0 to 1, so that a threshold above 0 tightens as it grows. They are re-estimated on the
remaining recordings in each round; with constant scores, all rounds together would be one cut at the last threshold.

Shapes: N recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linnet.curation.components import EstimatorOptions
from linnet.curation.moments import milliseconds
from linnet.errors import OptionError
from linnet.settings import NOT_NEGATIVE, ONE_OR_MORE, POSITIVE, SHARE, require, require_known

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

PARTS: Final = ("h_acoustic", "h_phonetic", "h_linguistic", "h_contextual", "mi")


@dataclass(frozen=True)
class HeepWeights:
    """The weights of the parts of S(x) (equation 1), and of S'(x) in rounds with a model's errors."""

    h_acoustic: float = 0.25
    h_phonetic: float = 0.20
    h_linguistic: float = 0.25
    h_contextual: float = 0.15
    mi: float = 0.15
    error_relevance: float = 0.3
    cross_lingual: float = 0.2

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, *PARTS, "error_relevance")
        if not any(getattr(self, name) for name in PARTS):
            raise OptionError(f"all weights of a score are 0: give one of {', '.join(PARTS)}")


@dataclass(frozen=True)
class HeepOptions:
    """HEEP's method with its own defaults.

    `tau_0` None finds the first threshold for which `keep` of the hours are left after the last round, as scores are in
    the first. `schedule: keep` has no threshold that grows: of all hours, round k of K leaves keep ** (k / K), so that
    each leaves the same share of the one before and the last one `keep`. A round leaves at least `min_share` of all
    recordings, and `min_samples` unless that is more than the share `keep` of them.
    """

    weights: HeepWeights = field(default_factory=HeepWeights)
    tau_0: float | None = 0.3
    schedule: str = "threshold"
    growth: float = 1.1
    max_rounds: int = 10
    min_samples: int = 1000
    min_share: float = 0.1
    keep: float = 0.2
    estimators: EstimatorOptions = field(default_factory=EstimatorOptions)

    def __post_init__(self) -> None:
        require(self, POSITIVE, "growth")
        require(self, ONE_OR_MORE, "max_rounds")
        require(self, NOT_NEGATIVE, "min_samples")
        require(self, SHARE, "min_share", "keep")
        require_known(self, "schedule", ("threshold", "keep"))
        if self.tau_0 is not None:
            require(self, POSITIVE, "tau_0")
        if self.growth < 1.0:
            raise OptionError(f"growth must be 1 or more, got {self.growth:g}: a threshold that falls keeps all")

    def floor(self, recordings: int) -> int:
        """How many of so many recordings are left at least."""
        most = ceil(self.keep * recordings)
        return min(recordings, max(min(self.min_samples, most), ceil(self.min_share * recordings)))


def heep_score(ranks: Mapping[str, Floats], weights: HeepWeights | None = None) -> Floats:
    """S(x), or S'(x) if `ranks` has `error_relevance` or `cross_lingual`, [N], from components between 0 to 1.

    Unknown values of a recording add nothing. A part that is unknown for all (such as H_contextual without domains) is
    omitted, and the weights of the others are increased.

    >>> one = {"h_acoustic": np.array([1.0, 0.0]), "mi": np.array([np.nan, 1.0])}
    >>> heep_score(one).round(3).tolist()
    [0.625, 0.375]
    """
    weights = weights or HeepWeights()
    known = [name for name in PARTS if name in ranks and np.isfinite(ranks[name]).any()]
    count = len(next(iter(ranks.values()))) if ranks else 0
    whole = sum(getattr(weights, name) for name in PARTS)
    measured = sum(getattr(weights, name) for name in known)
    score = np.zeros(count)
    for name in known:
        score += getattr(weights, name) / measured * whole * np.nan_to_num(ranks[name]) if measured else 0.0
    for name in ("error_relevance", "cross_lingual"):
        if name in ranks:
            score += getattr(weights, name) * np.nan_to_num(ranks[name])
    return score


def first_threshold(scores: Floats, seconds: Floats, options: HeepOptions) -> float:
    """tau_0: as given, or the quantile with `keep` of the hours above it, divided by the total growth."""
    if options.tau_0 is not None:
        return options.tau_0
    return threshold_for(scores, seconds, options.keep) / options.growth ** (options.max_rounds - 1)


def threshold_for(scores: Floats, seconds: Floats, keep: float) -> float:
    """The threshold above which the share `keep` of the hours lies, or a little less where scores are equal.

    Recordings of which the score or the length is not known do not count; 0 where there are no others.
    """
    known = np.flatnonzero(np.isfinite(scores))
    if not len(known):
        return 0.0
    order = known[np.argsort(scores[known], kind="stable")]
    below = np.cumsum(milliseconds(seconds[order]))
    place = int(np.searchsorted(below, (1.0 - keep) * below[-1]))
    return float(scores[order[min(place, len(order) - 1)]])


def next_threshold(
    number: int, before: float, scores: Floats, seconds: Floats, left: float, options: HeepOptions
) -> float:
    """The threshold of a round, the first being number 0, from the one `before` and the round's scores [N].

    `left` is the share of all hours that the rounds before have kept: the `keep` schedule asks for a share of all.
    """
    if options.schedule == "keep":
        share = options.keep ** ((number + 1) / options.max_rounds)
        return threshold_for(scores, seconds, min(1.0, share / max(left, share)))
    return first_threshold(scores, seconds, options) if number == 0 else before * options.growth


@dataclass(frozen=True, eq=False)
class Cut:
    """The recordings kept in a round, [N], and whether the floor kept some below the threshold."""

    kept: Flags
    at_floor: bool


def cut(scores: Floats, kept: Flags, threshold: float, floor: int) -> Cut:
    """Keep recordings above the threshold among those kept before; at least `floor`, the best first, ties by row.

    NaN is below any other score. HEEP's code tests its stop conditions before a cut, so a round may leave nothing; here
    the threshold is lowered to the floor instead.
    """
    above: Flags = kept & (scores > threshold)
    if above.sum() >= floor or above.sum() == kept.sum():
        return Cut(above, False)
    rows = np.flatnonzero(kept)
    order = np.argsort(-np.nan_to_num(scores[rows], nan=-np.inf), kind="stable")
    best = np.zeros_like(kept)
    best[rows[order[:floor]]] = True
    return Cut(best, True)


def values_of(options: HeepOptions) -> dict[str, Any]:
    """The options as plain values, for the metadata of files."""
    from dataclasses import asdict

    return asdict(options)
