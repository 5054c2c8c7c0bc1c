"""Bins of utterances of similar length, by duration or by duration and tokens.

N utterances, B bins
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet.data.batching.arrays import Floats, Ints, Seconds, Tokens
from linnet.errors import OptionError

MOST_BINS = 2**15


@dataclass(frozen=True, eq=False)
class Bins:
    """The maximum duration and tokens of each bin.

    `seconds` [B] never decreases; among bins of equal seconds `tokens` [B] increase. The last bin holds everything.

    >>> Bins([10.0, 10.0, 30.0], [20, 90, 200]).find(np.float32([4, 4, 11, 31]), np.int32([20, 21, 5, 5]))
    array([ 0,  1,  2, -1], dtype=int16)

    Raises:
        OptionError: limits of unequal number, out of order, or a last bin that does not hold everything.
    """

    seconds: Floats
    tokens: Ints

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", np.asarray(self.seconds, np.float64))
        object.__setattr__(self, "tokens", np.asarray(self.tokens, np.int64))
        pairs = list(zip(self.seconds.tolist(), self.tokens.tolist(), strict=False))
        if not 0 < len(self.seconds) == len(self.tokens) < MOST_BINS:
            sizes = f"{len(self.seconds)} and {len(self.tokens)}"
            raise OptionError(f"bins need as many limits of seconds as of tokens, got {sizes}.")
        if pairs != sorted(set(pairs)) or self.tokens.max() > self.tokens[-1]:
            raise OptionError(f"bins must rise in seconds, then in tokens, and the last must hold all: got {pairs}.")

    def __len__(self) -> int:
        return len(self.seconds)

    def probes(self, count: int = 8) -> list[tuple[float, int]]:
        """Shapes (seconds, tokens) to measure a cost at: the corners, and along the diagonal up to `count` in total.

        >>> Bins([4.0, 4.0, 9.0, 9.0, 30.0, 30.0], [10, 20, 30, 50, 90, 200]).probes(6)
        [(4.0, 10), (4.0, 200), (30.0, 10), (30.0, 200), (9.0, 30), (9.0, 50)]
        """
        pairs = list(zip(self.seconds.tolist(), self.tokens.tolist(), strict=True))
        (short, _), (long, many) = pairs[0], pairs[-1]
        few = int(self.tokens.min())
        corners = [(short, few), (short, many), (long, few), (long, many)]
        between = np.linspace(0, len(pairs) - 1, max(count - 2, 0)).round().astype(int)[1:-1]
        return list(dict.fromkeys([*corners, *(pairs[at] for at in between)]))

    def find(
        self, durations: npt.NDArray[np.floating[Any]], tokens: npt.NDArray[np.integer[Any]]
    ) -> npt.NDArray[np.int16]:
        """The first bin [N] that holds each utterance in both lengths, or -1."""
        limits, first = np.unique(self.seconds, return_index=True)
        group = np.searchsorted(limits, durations)
        # one sorted key for both lengths: the group's number, then the tokens
        scale = int(max(self.tokens.max(), tokens.max(initial=0))) + 2
        keys = np.repeat(np.arange(len(limits)), np.diff([*first, len(self)])) * scale + self.tokens
        found = np.searchsorted(keys, group * scale + tokens)
        low = np.flatnonzero(found < len(self))
        while len(low := low[self.tokens[found[low]] < tokens[low]]):
            # the group's last bin has too few tokens, and so has the next group's first: try that group's others
            group[low] = np.searchsorted(limits, self.seconds[found[low]])
            found[low] = np.searchsorted(keys, group[low] * scale + tokens[low])
            low = low[found[low] < len(self)]
        return np.where(found < len(self), found, -1).astype(np.int16)


def equal_mass(lengths: npt.NDArray[Any], parts: int) -> npt.NDArray[Any]:
    """Upper limits that split sorted lengths [N] into at most `parts` groups of equal sum (not equal number).

    The last limit is the largest length; equal lengths can carry several limits.

    >>> equal_mass(np.array([1, 1, 1, 1, 4]), 2)
    array([4, 4])
    >>> equal_mass(np.array([2, 2, 2, 2, 2, 2]), 3)
    array([2, 2, 2])
    """
    mass = np.cumsum(lengths, dtype=np.float64 if lengths.dtype.kind == "f" else np.int64)
    share, passed = mass[-1] / parts, 0
    limits: list[Any] = []
    while len(limits) < parts - 1:
        at = int(np.searchsorted(mass, passed + share, side="right"))
        if at == len(mass):
            break
        limits.append(lengths[at])
        passed = mass[at]
    return np.array([*limits, lengths[-1]], lengths.dtype)


def fit_bins(durations: Seconds, tokens: Tokens, *, groups: int = 30, splits: int = 2) -> Bins:
    """Bins of equal mass for a corpus: `groups` of equal audio, each split into `splits` of equal tokens (1: no split).

    These are the paper's two-dimensional bins. Coinciding duration limits are merged, and the group gets all their
    splits. A group's last bin holds the tokens of all earlier groups, so that every utterance fits each later group.

    Raises:
        OptionError: no utterance, or numbers below one.
    """
    if min(groups, splits) < 1 or groups * splits >= MOST_BINS:
        raise OptionError(f"{groups} groups of {splits} bins: give one of each at least, and below {MOST_BINS} in all.")
    if not len(durations):
        raise OptionError("no utterance to make bins of.")
    limits, times = np.unique(equal_mass(np.sort(durations), groups), return_counts=True)
    group = np.searchsorted(limits, durations).astype(np.int16)
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(len(limits) + 1))
    pairs: list[tuple[float, int]] = []
    most = 0
    for number, limit in enumerate(limits.tolist()):
        inside = np.sort(tokens[order[edges[number] : edges[number + 1]]])
        split = np.unique(equal_mass(inside, splits * int(times[number]))) if splits > 1 else inside[-1:]
        most = max(most, int(split[-1]))
        pairs += [(limit, int(value)) for value in split[:-1]] + [(limit, most)]
    seconds, counts = zip(*pairs, strict=True)
    return Bins(np.array(seconds), np.array(counts))
