"""Apply gates one after another, and collect their verdicts.

Shapes: N recordings, G gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from linnet.curation.pool import Flags, Numbers, Pool


@dataclass(frozen=True, eq=False)
class Verdict:
    """Which recordings fail [N], and the checked values [N], NaN if there is none.

    `others` int64 [N] are similar recordings, -1 for none.
    """

    failed: Flags
    values: Numbers
    others: NDArray[np.int64] | None = None


class Gate(Protocol):
    """One check of all recordings."""

    @property
    def name(self) -> str:
        """The name in tables and files."""
        ...

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """Check each recording; `usable` [N] passed the gates before, and determine what is usual."""
        ...

    def reason(self, value: float) -> str:
        """The reason for failing with this value, in words."""
        ...


@dataclass(frozen=True, eq=False)
class Gated:
    """The results of the gates: `names` [G] and the verdict of each gate; `usable` [N] passed all of them."""

    gates: tuple[Gate, ...]
    verdicts: tuple[Verdict, ...]
    usable: Flags

    @cached_property
    def first(self) -> NDArray[np.int16]:
        """The first gate that each recording fails [N], -1 for none."""
        first = np.full(len(self.usable), -1, np.int16)
        for at in reversed(range(len(self.gates))):
            first[self.verdicts[at].failed] = at
        return first

    def reason_at(self, row: int, gate: int) -> str:
        """Why a recording fails a gate."""
        return self.gates[gate].reason(float(self.verdicts[gate].values[row]))


def run_gates(pool: Pool, gates: Sequence[Gate]) -> Gated:
    """Apply all gates to all recordings; each determines what is usual from those that passed the gates before."""
    usable = np.ones(len(pool), np.bool_)
    verdicts = []
    for gate in gates:
        verdict = gate.check(pool, usable)
        verdicts.append(verdict)
        usable = usable & ~verdict.failed
    return Gated(tuple(gates), tuple(verdicts), usable)
