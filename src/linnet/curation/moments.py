"""Comparable scores: relative to recordings of similar length in the same language, then as a rank from 0 to 1.

Raw scores grow with length, so selecting by them selects by length. Each is therefore compared with the usual mean and
deviation for its group and duration, and then ranked among the hours of its group. Only integers are merged, so the
result does not depend on the number and order of shards.

A group with few rows says little of how scores go with length, but something of its level: it borrows the line of all
groups, moved by as much of its own level as groups differ more than by chance.

Shapes: N rows, G groups, B bins of duration; S = 6 sums of rows, as in `Moments`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.counting import Integers

Floats = NDArray[np.float64]

PER_OCTAVE: Final = 6  # bins of duration: each spans 12 %
_SHORTEST, _OCTAVES = 0.125, 16  # seconds: up to 2.3 hours; others are in the first or last bin
_EDGES: Final = _SHORTEST * 2.0 ** (np.arange(PER_OCTAVE * _OCTAVES + 1) / PER_OCTAVE)
BINS: Final = len(_EDGES) + 1
ENOUGH: Final = 30  # minimum rows for a separate mean and deviation
_ONE: Final = 1 << 20  # of scores in fixed point
_ONE_BIN: Final = 1 << 8  # of durations
_MOST: Final = 1 << 7  # bits, in absolute value: the sums of a hundred million rows fit in 64 bits
_FLAT: Final = 1e-4  # a deviation that counts as zero
_FAR: Final = 2.0  # deviations at which scores are cut when what is usual is learned
_ROUNDS: Final = 3  # of levels and the line of all groups in turn
STEPS: Final = 4096  # of a histogram
_PRIOR: Final = 600_000  # milliseconds of all groups together, added to each group
_EDGE: Final = 1e-6


def duration_bin(seconds: Floats) -> Integers:
    """The bin of each duration [N]: sixths of an octave. NaN is in the last one."""
    return np.searchsorted(_EDGES, seconds, side="right").astype(np.int64)


@dataclass(frozen=True, eq=False)
class Lengths:
    """The bin of each duration [N], and its place in it from 0 to 1 [N]; 0 in the last bin, which has no end."""

    bins: Integers
    places: Floats

    @classmethod
    def of(cls, seconds: Floats) -> Self:
        """Of durations [N]."""
        bins = duration_bin(seconds)
        edges = np.concatenate([[0.0], _EDGES, [np.inf]])
        start, end = edges[bins], edges[bins + 1]
        places = np.where(np.isfinite(end), (np.nan_to_num(seconds, posinf=0.0) - start) / (end - start), 0.0)
        return cls(bins, places)


# --- usual values by length


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the rows of each group and bin of duration, int64 [6, G, B], in fixed point.

    They are sums of 1, y, y^2, x, x^2 and x y, with the score y and the duration's position x in its bin, from 0 to 1.
    """

    sums: Integers

    @classmethod
    def of(cls, scores: Floats, groups: Integers, seconds: Floats, count: int) -> Self:
        """From the rows of a shard, for `count` groups. NaN scores are ignored."""
        return cls._of(scores, groups, Lengths.of(seconds), count)

    @classmethod
    def _of(cls, scores: Floats, groups: Integers, lengths: Lengths, count: int) -> Self:
        known = np.isfinite(scores)
        y, x = _fixed(scores[known], _ONE), _fixed(lengths.places[known], _ONE_BIN)
        place = groups[known] * BINS + lengths.bins[known]
        sums = np.zeros((6, count * BINS), np.int64)
        for row, values in zip(sums, (np.ones_like(y), y, y * y >> 20, x, x * x, x * y), strict=True):
            np.add.at(row, place, values)
        return cls(sums.reshape(6, count, BINS))

    @classmethod
    def robust(cls, scores: Floats, groups: Integers, seconds: Floats, count: int) -> Self:
        """As `of`, with outliers cut to two deviations from what is usual for their group and length.

        A tenth of broken recordings would otherwise bend the lines by which the others are judged.
        """
        lengths = Lengths.of(seconds)
        found = cls._of(scores, groups, lengths, count)
        for _ in range(2):
            usual, deviation = found._usual(groups, lengths)
            cut = np.clip(scores, usual - _FAR * deviation, usual + _FAR * deviation)
            found = cls._of(cut, groups, lengths, count)
        return found

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.sums + other.sums)

    def residuals(self, scores: Floats, groups: Integers, seconds: Floats) -> Floats:
        """The deviations of each score from the usual value for its group and length, [N].

        The usual value is a line through the bin. A bin of fewer than 30 rows is merged with its neighbors; a group of
        fewer than 30 rows is complemented with recordings of that length from all groups, moved to its level.
        """
        usual, deviation = self._usual(groups, Lengths.of(seconds))
        known = np.isfinite(scores)
        rounded = _fixed(np.where(known, scores, 0.0), _ONE) / _ONE
        residual = np.where(deviation > _FLAT, (rounded - usual) / np.maximum(deviation, _FLAT), 0.0)
        return np.where(known, residual, np.nan)

    def _usual(self, groups: Integers, lengths: Lengths) -> tuple[Floats, Floats]:
        """The usual value for the group and length of each row, and the deviation from it, [N] each."""
        mean, center, slope, deviation = (line[groups, lengths.bins] for line in self._lines())
        return mean + slope * (lengths.bins + lengths.places - center), deviation

    def _lines(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Mean of y, mean of x, slope and deviation around it in each group and bin, [G, B] each."""
        one, y, yy, x, xx, xy = self.sums.astype(np.float64)
        y, yy, x, xx, xy = y / _ONE, yy / _ONE, x / _ONE_BIN, xx / _ONE_BIN**2, xy / _ONE_BIN / _ONE
        at = np.arange(BINS)  # from positions within bins to positions among all bins
        sums = np.stack([one, y, yy, x + at * one, xx + 2.0 * at * x + at**2 * one, xy + at * y])
        levels = _levels(sums)
        level = _moved(sums, levels)
        around, everyone = _widened(level), _widened(level.sum(axis=1, keepdims=True))
        lacking = np.maximum(ENOUGH - around[0], 0.0)
        y, x, slope, deviation = _line(around + lacking * (everyone / np.maximum(everyone[0], 1.0)))
        return y + levels[:, None], x, slope, deviation


def _line(sums: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean of y, mean of x, slope of y over x and deviation around it, [., B] each, from sums [S, ., B]."""
    rows = np.maximum(sums[0], 1.0)
    y, yy, x, xx, xy = sums[1:] / rows
    spread, together = np.maximum(xx - x * x, 0.0), xy - x * y
    slope = together / (spread + 1.0 / rows)  # the last one: no slope for rows of one length
    variance = yy - y * y - 2.0 * slope * together + slope * slope * spread
    return y, x, slope, np.sqrt(np.maximum(variance, 0.0))


def _moved(sums: Floats, levels: Floats) -> Floats:
    """The sums [S, G, B] of y - level, for a level of each group [G]."""
    one, y, yy, x, xx, xy = sums
    level = levels[:, None]
    return np.stack([one, y - level * one, yy - 2.0 * level * y + level * level * one, x, xx, xy - level * x])


def _levels(sums: Floats) -> Floats:
    """How far each group lies above the line of all groups [G], from sums [S, G, B], as far as it is more than chance.

    A group's mean distance is shrunk by n t^2 / (n t^2 + s^2), for n rows, the variance s^2 around the line and t^2
    between groups, of which the latter follows from the former and the observed one (Henderson 1953, method 1, as for
    one random factor). One group alone is at 0.
    """
    rows = sums[0].sum(axis=1)
    total, levels = rows.sum(), np.zeros(len(rows))
    filled = int((rows > 0).sum())
    if filled < 2:
        return levels
    for _ in range(_ROUNDS):
        y, x, slope, deviation = (one[0] for one in _line(_widened(_moved(sums, levels).sum(axis=1, keepdims=True))))
        away = (sums[1] - sums[0] * (y - slope * x) - slope * sums[3]).sum(axis=1) / np.maximum(rows, 1.0)
        within = float((sums[0].sum(axis=0) * deviation**2).sum() / total)
        observed = float((rows * (away - (rows * away).sum() / total) ** 2).sum())
        between = max(observed - (filled - 1) * within, 0.0) / (total - float((rows**2).sum()) / total)
        levels = rows * between / np.maximum(rows * between + within, _FLAT**2) * away
    return levels


def _fixed(values: Floats, one: int) -> Integers:
    return np.rint(np.clip(values, -_MOST, _MOST) * one).astype(np.int64)


def _widened(sums: Floats) -> Floats:
    """Each bin with enough neighbors for the required rows, or with all bins, [., G, B]."""
    before = np.concatenate([np.zeros_like(sums[:, :, :1]), np.cumsum(sums, axis=2)], axis=2)
    bins = np.arange(sums.shape[2])
    result, wanting = sums.copy(), sums[0] < ENOUGH
    for reach in range(1, sums.shape[2]):
        if not wanting.any():
            break
        wide = before[:, :, np.minimum(bins + reach + 1, len(bins))] - before[:, :, np.maximum(bins - reach, 0)]
        result = np.where(wanting, wide, result)
        wanting &= result[0] < ENOUGH
    return result


# --- ranks among the hours


@dataclass(frozen=True, eq=False)
class Histogram:
    """The milliseconds of each group per level of a score, int64 [G, 4096]."""

    mass: Integers

    @classmethod
    def of(cls, scores: Floats, groups: Integers, seconds: Floats, count: int) -> Self:
        """From the rows of a shard, for `count` groups. NaN scores are ignored."""
        known = np.isfinite(scores)
        mass = np.zeros(count * STEPS, np.int64)
        step = np.minimum(_height(scores[known]).astype(np.int64), STEPS - 1)
        np.add.at(mass, groups[known] * STEPS + step, milliseconds(seconds[known]))
        return cls(mass.reshape(count, STEPS))

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.mass + other.mass)

    def ranks(self, scores: Floats, groups: Integers) -> Floats:
        """The share of the group's hours below each score, above 0 and below 1, [N]; NaN for NaN.

        Ten minutes of all groups together are added to each group, so that ranks in a language with three recordings
        are not extreme.
        """
        known = np.isfinite(scores)
        height = _height(np.where(known, scores, 0.0))
        step = np.minimum(height.astype(np.int64), STEPS - 1)
        everyone = self.mass.sum(axis=0, keepdims=True)
        weighted = self.mass + everyone * (_PRIOR / max(int(everyone.sum()), 1))
        below = np.cumsum(weighted, axis=1) - weighted
        total = np.maximum(weighted.sum(axis=1), 1.0)
        rank = (below[groups, step] + weighted[groups, step] * (height - step)) / total[groups]
        return np.where(known, np.clip(rank, _EDGE, 1.0 - _EDGE), np.nan)


def milliseconds(seconds: Floats) -> Integers:
    """Durations in whole milliseconds, at least one; NaN is one."""
    return np.maximum(np.rint(np.nan_to_num(seconds, posinf=0.0) * 1000.0), 1).astype(np.int64)


def _height(scores: Floats) -> Floats:
    """Map any score monotonically to a level from 0 to 4095; the usual value 0 is in the middle of a level."""
    height: Floats = (scores / (1.0 + np.abs(scores)) + 1.0) * ((STEPS - 1) / 2)
    return height
