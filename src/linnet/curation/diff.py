"""Compare two selections of the same recordings."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.budget import HOUR
from linnet.curation.pool import STRATA
from linnet.curation.selection import Selection

_NAMED = 10
_GROUPS = 20


@dataclass(frozen=True)
class SelectionDiff:
    """The difference of two selections, A and B.

    Hours of A, of B, and of both; `overlap` is the hours in both / those in either. `moves` counts the recordings kept
    by only one, by their fates in A and B. `strata` are hours in A and B of each group of a kind. `only_a` and `only_b`
    name the first recordings kept by only one of them, in the order of selection. `missing` are recordings that only
    one of them has.
    """

    hours_a: float
    hours_b: float
    hours_both: float
    overlap: float
    moves: dict[str, int]
    strata: dict[str, dict[str, tuple[float, float]]]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Lines of text."""
        said = [
            f"A keeps {self.hours_a:.2f} h, B {self.hours_b:.2f} h, both the same {self.hours_both:.2f} h "
            f"({self.overlap:.0%} of the hours that either keeps)"
        ]
        if self.missing:
            said.append(f"{self.missing} recordings are known to one of them only")
        said += [f"{count} recordings: {move}" for move, count in self.moves.items()]
        for kind, groups in self.strata.items():
            said.append(f"hours by {kind} (A, B):")
            said += [f"  {name or '(none)'}: {a:.2f}, {b:.2f}" for name, (a, b) in groups.items()]
        said += [f"only in {which}: {', '.join(ids)}" for which, ids in (("A", self.only_a), ("B", self.only_b)) if ids]
        return said


def compare(first: Selection, second: Selection) -> SelectionDiff:
    """The difference of two selections, whose recordings are matched by id."""
    places = {name: row for row, name in enumerate(second.ids)}
    rows = np.array([places.get(name, -1) for name in first.ids], np.int64)
    mine = np.flatnonzero(rows >= 0)
    theirs = rows[mine]
    kept_a, kept_b = first.kept[mine], second.kept[theirs]
    both = float(first.seconds[mine[kept_a & kept_b]].sum()) / HOUR
    alone_a, alone_b = mine[kept_a & ~kept_b], theirs[~kept_a & kept_b]
    either = first.hours + second.hours - both
    differ = np.flatnonzero(kept_a != kept_b)
    moves = Counter(f"{first.fates[mine[at]]} in A, {second.fates[theirs[at]]} in B" for at in differ.tolist())
    return SelectionDiff(
        hours_a=first.hours,
        hours_b=second.hours,
        hours_both=both,
        overlap=both / either if either > 0 else 1.0,
        moves=dict(sorted(moves.items(), key=lambda one: (-one[1], one[0]))),
        strata={kind: groups for kind in STRATA if (groups := _strata(first, second, kind))},
        only_a=_first(first, alone_a),
        only_b=_first(second, alone_b),
        missing=len(first) + len(second) - 2 * len(mine),
    )


def _strata(first: Selection, second: Selection, kind: str) -> dict[str, tuple[float, float]]:
    """Hours in both of the groups that differ most; empty without groups."""
    a = {name: hours[2] for name, hours in first.by_stratum(kind).items()}
    b = {name: hours[2] for name, hours in second.by_stratum(kind).items()}
    names = sorted({*a, *b}, key=lambda name: (-abs(a.get(name, 0.0) - b.get(name, 0.0)), name))
    if names == [""]:
        return {}
    return {name: (a.get(name, 0.0), b.get(name, 0.0)) for name in names[:_GROUPS]}


def _first(selection: Selection, rows: NDArray[np.int64]) -> tuple[str, ...]:
    order = rows[np.argsort(selection.ranks[rows], kind="stable")]
    return tuple(str(name) for name in selection.ids[order[:_NAMED]])
