"""Explain why one recording is kept or dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linnet.curation.pool import NUMBERS, STRATA, Pool
from linnet.curation.selection import Selection
from linnet.errors import OptionError
from linnet.settings import did_you_mean

_NEAR = 200_000  # ids to search for a similar one


@dataclass(frozen=True)
class Explanation:
    """The fate of a recording.

    `rank` counts from 1 among the `kept_of_all` kept ones, in the order of selection. `priority` is its gain per cost
    when it was taken, or at the end if it was not; `last_priority` that of the last one taken by coverage. `like` names
    the recording that it duplicates. `checks`, `measured` and `scores` hold the available values.
    """

    id: str
    row: int
    kept: bool
    fate: str
    reason: str
    seconds: float
    rank: int | None
    kept_of_all: int
    priority: float
    last_priority: float | None
    weight: float
    like: str | None
    labels: Mapping[str, str]
    checks: Mapping[str, float]
    measured: Mapping[str, float]
    scores: Mapping[str, float]
    text: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Lines of text, the most important first."""
        labels = ", ".join(f"{kind} {name}" for kind, name in self.labels.items())
        said = [f"{self.id} ({self.seconds:.2f} s{', ' if labels else ''}{labels})", self.reason]
        if self.like is not None:
            said.append(f"the other recording is {self.like}")
        if self.rank is not None:
            said.append(f"taken as number {self.rank} of {self.kept_of_all}")
        elif self.weight > 0 and self.last_priority:
            share = self.priority / self.last_priority
            said.append(f"it would add {share:.0%} of the gain per second of the last one; weight {self.weight:.3f}")
        if self.text is not None:
            said.append(f"text: {self.text}")
        for title, values in (("scores", self.scores), ("gates", self.checks), ("measured", self.measured)):
            if values:
                said.append(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        return said


def explain(selection: Selection, name: str, pool: Pool | None = None) -> Explanation:
    """Explain the recording with this id; with the pool, also its measurements.

    Raises:
        OptionError: no recording has this id; names a similar one.
    """
    found = np.flatnonzero(selection.ids == name)
    if not len(found):
        near = did_you_mean(name, map(str, selection.ids[:_NEAR]))
        raise OptionError(f"no recording has the id {name!r}{near}; ids are those of the manifest")
    row = int(found[0])
    fate = selection.fates[row] or ""
    rank = int(selection.ranks[row])
    labels = {kind: one for kind in STRATA if (one := selection.labels[kind][row]) is not None}
    return Explanation(
        id=name,
        row=row,
        kept=bool(selection.kept[row]),
        fate=fate,
        reason=str(selection.reasons[row]),
        seconds=float(selection.seconds[row]),
        rank=None if rank < 0 else rank + 1,
        kept_of_all=int(selection.kept.sum()),
        priority=float(selection.priorities[row]),
        last_priority=last_priority(selection),
        weight=float(selection.weights[row]),
        like=_other(selection, row, fate),
        labels=labels,
        checks=_known(selection.checks, row),
        measured={}
        if pool is None
        else _known({key: pool.numbers[key] for key in NUMBERS if key in pool.numbers}, row),
        scores={} if pool is None else _known(pool.scores, row),
        text=None if pool is None else pool.texts[row],
    )


def last_priority(selection: Selection) -> float | None:
    """The gain per cost of the last recording taken by coverage; None without any."""
    names = [at for at, name in enumerate(selection.fates.names) if name in ("coverage", "score")]
    worth = np.flatnonzero(np.isin(selection.fates.codes, names))
    return float(selection.priorities[worth[np.argmax(selection.ranks[worth])]]) if len(worth) else None


def _other(selection: Selection, row: int, fate: str) -> str | None:
    other = int(selection.others[row])
    if other < 0:
        return None
    return f"number {other + 1} of the evaluation set" if fate == "leak" else str(selection.ids[other])


def _known(columns: Mapping[str, Any], row: int) -> dict[str, float]:
    values = {name: float(column[row]) for name, column in columns.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}
