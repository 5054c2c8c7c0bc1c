"""Why one recording is kept or not, with everything that was held against it."""

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

_NEAR = 200_000  # ids among which a similar one is looked for


@dataclass(frozen=True)
class Explanation:
    """What became of a recording.

    `rank` counts from 1 among the `kept_of_all` kept ones, in the order in which they were taken. `priority` is what it
    added per cost when it was taken, or would have added at the end; `last_priority` that of the last one that coverage
    took. `like` names the recording that it is a copy of. `checks`, `measured` and `scores` have what is known.
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
        """As plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person, the most important first."""
        labels = ", ".join(f"{kind} {name}" for kind, name in self.labels.items())
        said = [f"{self.id} ({self.seconds:.2f} s{', ' if labels else ''}{labels})", self.reason]
        if self.like is not None:
            said.append(f"the other recording is {self.like}")
        if self.rank is not None:
            said.append(f"taken as number {self.rank} of {self.kept_of_all}")
        elif self.weight > 0 and self.last_priority:
            share = self.priority / self.last_priority
            said.append(f"it would add {share:.0%} of what the last one added per second; weight {self.weight:.3f}")
        if self.text is not None:
            said.append(f"text: {self.text}")
        for title, values in (("scores", self.scores), ("gates", self.checks), ("measured", self.measured)):
            if values:
                said.append(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        return said


def explain(selection: Selection, name: str, pool: Pool | None = None) -> Explanation:
    """Why the recording with an id is kept or not; with the pool, also what was measured of it.

    Raises:
        OptionError: no recording has that id; names one that is similar.
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
    """What the last recording that was taken by its worth added per cost; None where none was."""
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
