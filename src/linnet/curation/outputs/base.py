"""What every format is written from: the utterances with their fate, and where their sound lies as seen from a file."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from linnet.curation.selection import Selection
from linnet.data import Utterance
from linnet.errors import OptionError
from linnet.urls import is_url


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
    """How many rows were written, and how many of the kept ones could not be, by reason."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Sentences for the user; none where nothing was left out."""
        return [f"{count} kept recordings are not written: {why}" for why, count in sorted(self.left_out.items())]


def chosen_rows(
    utterances: Iterable[Utterance], selection: Selection, scores: Mapping[str, NDArray[Any]]
) -> Iterator[Chosen]:
    """Each utterance of the manifest with what became of it.

    Raises:
        OptionError: the manifest is not the one that was chosen from.
    """
    row = -1
    for row, utterance in enumerate(utterances):
        name = utterance.id.encode("utf-8", "replace").decode()  # as it is in Parquet, which has no half characters
        if row >= len(selection) or selection.ids[row] != name:
            had = selection.ids[row] if row < len(selection) else "nothing"
            raise OptionError(
                f"row {row + 1} of the manifest is {utterance.id}, and was {had} when it was chosen from: "
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
        raise OptionError(f"the manifest has {row + 1} rows and had {len(selection)} when it was chosen from")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def place(audio: str, folder: Path) -> str:
    """Where a sound lies as seen from a folder: relative if it is inside, else absolute; a URL as it is.

    >>> place("/data/a/b.wav", Path("/data")), place("/data/b.wav", Path("/out")), place("s3://x/b.wav", Path("/out"))
    ('a/b.wav', '/data/b.wav', 's3://x/b.wav')
    """
    if is_url(audio) or "://" in audio:
        return audio
    whole, base = os.path.abspath(audio), os.path.abspath(folder)  # noqa: PTH100  links stay
    return os.path.relpath(whole, base) if whole.startswith(os.path.join(base, "")) else whole  # noqa: PTH118
