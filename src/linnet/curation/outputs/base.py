"""The common input of all formats: utterances with their fate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from linnet.curation.selection import Selection
from linnet.data import Utterance
from linnet.errors import OptionError


@dataclass(frozen=True)
class Chosen:
    """An utterance, whether it is kept and why, its sampling weight, decoded length, and scores (None: not known)."""

    utterance: Utterance
    kept: bool
    fate: str
    weight: float
    seconds: float
    scores: Mapping[str, float | None]


@dataclass
class Written:
    """The number of written rows, and of kept rows that could not be written, by reason."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Sentences for the user; empty if all kept rows were written."""
        return [f"{count} kept recordings were not written: {why}" for why, count in sorted(self.left_out.items())]


def chosen_rows(
    utterances: Iterable[Utterance], selection: Selection, scores: Mapping[str, NDArray[Any]]
) -> Iterator[Chosen]:
    """Each utterance of the manifest with its fate.

    Raises:
        OptionError: the manifest is not that of the selection.
    """
    row = -1
    for row, utterance in enumerate(utterances):
        name = utterance.id.encode("utf-8", "replace").decode()  # as in Parquet, which has no surrogates
        if row >= len(selection) or selection.ids[row] != name:
            had = selection.ids[row] if row < len(selection) else "nothing"
            raise OptionError(
                f"row {row + 1} of the manifest is {utterance.id}, but was {had} in the selection: "
                "the manifest has changed; choose again"
            )
        known = {name: _known(float(column[row])) for name, column in scores.items()}
        yield Chosen(
            utterance,
            bool(selection.kept[row]),
            selection.fates[row] or "",
            float(selection.weights[row]),
            float(selection.seconds[row]),
            known,
        )
    if row + 1 != len(selection):
        raise OptionError(f"the manifest has {row + 1} rows, but had {len(selection)} in the selection")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
