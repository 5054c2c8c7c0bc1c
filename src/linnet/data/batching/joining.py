"""Utterances concatenated in audio windows of one length, for models that pad all audio to such a window.

N utterances of a corpus, each with its share of a window: of its seconds or of its token positions, whichever is
larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from linnet.data.batching.arrays import Floats, Ints, digest_of, shuffled_in_groups
from linnet.data.batching.cost import Cost, Peak, Shape
from linnet.data.batching.lengths import Lengths
from linnet.data.batching.packing import STRETCH, deal, fill
from linnet.data.batching.plan import Plan
from linnet.errors import OptionError

_ROUNDING = 1e-9  # shares are summed in another order than when planned


@dataclass(frozen=True)
class JoinedWindow:
    """A window of `seconds` of audio and `places` for tokens; `silence` is added to each utterance.

    Augmentation may make a recording `slower` times as long.
    """

    seconds: float
    places: int
    silence: float = 0.0
    slower: float = 1.0

    def shares(self, seconds: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """The share of the window that each utterance takes, at most 1.

        >>> JoinedWindow(30.0, 400, silence=0.5).shares([2.5, 1.0, 30.0], [10, 200, 20]).tolist()
        [0.1, 0.5, 1.0]
        """
        d, t = np.asarray(seconds, np.float64), np.asarray(tokens, np.float64)
        return np.minimum(np.maximum((d * self.slower + self.silence) / self.seconds, t / self.places), 1.0)


@dataclass(frozen=True, eq=False)
class JoinPlan:
    """Utterances that share windows, and windows that share batches of cost at most `budget`.

    Only utterances of one kind (such as a language) share a window: `kinds` [N] are integers from 0.
    """

    window: JoinedWindow
    tokens: npt.NDArray[np.int32]
    loads: Floats
    kinds: npt.NDArray[np.int16]
    rows: Ints
    cost: Cost | Peak
    budget: float

    @property
    def limits(self) -> tuple[float, ...]:
        """The budget."""
        return (self.budget,)

    @cached_property
    def digest(self) -> str:
        """Hash of the shares, the kinds and the rows."""
        return digest_of("joining", self.loads, self.tokens, self.kinds, self.rows)

    def with_limits(self, limits: Sequence[float]) -> JoinPlan:
        """The same utterances with another budget."""
        return replace(self, budget=float(limits[0]))

    def shrunk(self, number: int) -> JoinPlan:  # noqa: ARG002 (there is one bin)
        """The same utterances with a budget reduced by 10 %.

        Raises:
            OptionError: the window with the longest text alone would exceed it.
        """
        budget = self.budget * 0.9
        if budget < self.cost.of(1, self.window.seconds, self.tokens[self.rows].max()):
            raise OptionError("batches of one window run out of memory: train on shorter windows, or free memory.")
        return replace(self, budget=budget)

    def windows(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows of a batch by window; never more windows than planned."""
        at = np.asarray(rows, np.int64)
        return [at[part].tolist() for part in in_turn(self.loads[at].tolist(), self.kinds[at].tolist())]

    def shape(self, rows: Sequence[int]) -> Shape:
        """The shape of a batch: windows, their seconds, and the maximum tokens of one."""
        windows = self.windows(rows)
        return len(windows), self.window.seconds, max(int(self.tokens[window].sum()) for window in windows)

    def plan(self, rows: Ints, world: int, random: np.random.Philox) -> Plan:
        """An epoch with each row exactly once, regrouped each time; texts of similar length share a batch.

        The largest batches are halved to give all ranks equally many; if too few can be, up to `world` - 1 rows are
        skipped.
        """
        order = rows[shuffled_in_groups(random, self.kinds[rows])]
        edges = np.flatnonzero(np.diff(self.kinds[order])) + 1
        windows: list[Ints] = []
        for same in np.split(order, edges):
            for begin in range(0, len(same), STRETCH):
                some = same[begin : begin + STRETCH]
                windows += [some[members] for members in fill(self.loads[some].tolist(), 1.0)]
        return deal(self._batches(windows), world, random)

    def _batches(self, windows: list[Ints]) -> list[Ints]:
        """Batches from the window with the most tokens down, as many windows each as the budget allows."""
        counts = np.array([self.tokens[window].sum() for window in windows], np.int64)
        most = np.maximum(self.cost.most(self.window.seconds, counts, self.budget), 1)
        order, batches, begin = np.argsort(-counts, kind="stable"), list[Ints](), 0
        while begin < len(order):
            end = begin + int(most[order[begin]])
            batches.append(np.concatenate([windows[at] for at in np.sort(order[begin:end])]))
            begin = end
        return batches


def in_turn(loads: Sequence[float], kinds: Sequence[int]) -> list[list[int]]:
    """Positions per window, filled in order; a new window begins when an utterance does not fit.

    No other split of the sequence needs fewer windows.

    >>> in_turn([0.5, 0.4, 0.3, 0.2, 0.2], [0, 0, 0, 0, 1])
    [[0, 1], [2, 3], [4]]
    """
    windows: list[list[int]] = []
    room = 0.0
    for at, load in enumerate(loads):
        if not windows or load > room + _ROUNDING or kinds[at] != kinds[at - 1]:
            windows.append([])
            room = 1.0
        windows[-1].append(at)
        room -= load
    return windows


def join_utterances(
    lengths: Lengths,
    window: JoinedWindow,
    cost: Cost | Peak,
    budget: float,
    *,
    kinds: npt.NDArray[np.int16],
    rows: Ints,
) -> JoinPlan:
    """Plan windows of a corpus, and batches of them within the budget.

    Raises:
        OptionError: no utterance, or a window with the longest text exceeds the budget.
    """
    if not len(rows):
        raise OptionError("no utterance to join.")
    longest = int(lengths.tokens[rows].max())
    room = np.flatnonzero(cost.of(1, window.seconds, np.arange(window.places + 1)) <= budget)
    if not len(room) or room[-1] < longest:
        alone = float(cost.of(1, window.seconds, longest))
        raise OptionError(
            f"a window of {window.seconds:g} s with {longest} tokens costs {alone:g} of a budget of {budget:g}: "
            "raise the budget."
        )
    window = replace(window, places=int(room[-1]))
    loads = window.shares(lengths.durations, lengths.tokens)
    return JoinPlan(window, lengths.tokens, loads, kinds, rows, cost, budget)
