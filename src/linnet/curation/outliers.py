"""Robust outlier scores within groups, by quantiles that tolerate a tenth of wrong values.

Shapes: N recordings.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from linnet.curation.pool import Flags, Numbers

ENOUGH = 100  # recordings of a language, the fewest that how its words sound can be learned from
_LEAST = 30  # minimum values of a group
_OF_VOICE = 1.5  # standard deviations that a voice may lie below the others
_QUARTERS = 1.3490  # between the quartiles of a normal distribution, in standard deviations


def robust_scores(
    values: NDArray[Any],
    groups: NDArray[Any],
    usable: Flags,
    spread: Literal["both", "upper"] = "both",
    least_spread: float = 0.0,
) -> Numbers:
    """Distance from the group's median in robust standard deviations [N]; NaN if undefined.

    `groups` [N] are numbers, negative for none. The standard deviation is that of a normal distribution with the same
    quartiles, or with `upper` the same upper quartile, for values where wrong ones are low. Groups with fewer than 30
    usable values are not scored.
    """
    scores = np.full(len(values), np.nan)
    judged = np.flatnonzero(usable & (groups >= 0) & np.isfinite(values))
    if not len(judged):
        return scores
    order = judged[np.lexsort((values[judged], groups[judged]))]
    held, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    ordered = np.asarray(values, np.float64)[order]
    low, middle, high = (_quantile(ordered, starts, counts, share) for share in (0.25, 0.5, 0.75))
    width = (high - low) / _QUARTERS if spread == "both" else 2 * (high - middle) / _QUARTERS
    width = np.maximum(width, least_spread)
    width[(counts < _LEAST) | (width <= 0)] = np.nan
    at = np.searchsorted(held, groups[judged])
    scores[judged] = (values[judged] - middle[at]) / width[at]
    return scores


def _quantile(ordered: Numbers, starts: NDArray[Any], counts: NDArray[Any], share: float) -> Numbers:
    """A quantile of each group of sorted values, with linear interpolation."""
    place = share * (counts - 1)
    first = starts + np.floor(place).astype(np.int64)
    second = np.minimum(first + 1, starts + counts - 1)
    part = place - np.floor(place)
    values: Numbers = (1 - part) * ordered[first] + part * ordered[second]
    return values


def beside_speakers(scores: Numbers, speakers: NDArray[Any], usable: Flags) -> Numbers:
    """Scores [N] in which a speaker's are raised by what the speaker's median lacks to 0, by 1.5 at most.

    Sounds that most of the corpus has taught go less well with the words of a rare voice, in all of its recordings. A
    speaker with nothing but wrong texts still stands out. `speakers` [N] are numbers, negative for none; those with
    fewer than 30 usable scores are left as they are.
    """
    judged = np.flatnonzero(usable & (speakers >= 0) & np.isfinite(scores))
    order = judged[np.lexsort((scores[judged], speakers[judged]))]
    held, starts, counts = np.unique(speakers[order], return_index=True, return_counts=True)
    lacks = np.zeros(int(speakers.max(initial=0)) + 2)  # the last one is for no speaker
    middle = _quantile(scores[order], starts, counts, 0.5)
    lacks[held] = np.where(counts >= _LEAST, np.clip(-middle, 0.0, _OF_VOICE), 0.0)
    return np.asarray(scores + lacks[speakers], np.float64)


def of_learned(scores: Numbers, codes: NDArray[Any], usable: Flags) -> tuple[Numbers, Flags]:
    """Scores [N] of what the corpus itself has taught, and which may be judged: those of languages with enough of it.

    What is usual is known to about 1 / n from n usable recordings of a language (`codes` [N], -1 for none), so a score
    counts for less where they are few: two thirds at 100, nearly all at 2,000.
    """
    counts = np.bincount(codes[usable] + 1, minlength=int(codes.max(initial=0)) + 2)[codes + 1]
    shrunk: Numbers = scores / (1 + ENOUGH / (2 * np.maximum(counts, ENOUGH)))
    return shrunk, counts >= ENOUGH


def length_groups(codes: NDArray[Any], seconds: Numbers, usable: Flags) -> NDArray[np.int64]:
    """A group for each name [N] and half octave of length; rare lengths are merged with shorter ones.

    Values of short recordings vary more. Rows without a name form one group.
    """
    steps = np.floor(2 * np.log2(np.clip(seconds, 0.25, 256.0))).astype(np.int64) + 4  # 0 to 20
    groups = np.asarray(codes, np.int64) + 1
    for step in range(int(steps.max(initial=0)), 0, -1):
        here = steps == step
        counts = np.bincount(groups[here & usable], minlength=int(groups.max(initial=0)) + 1)
        steps[here & (counts[groups] < _LEAST)] = step - 1
    both: NDArray[np.int64] = groups * 32 + steps
    return both
