"""Clusters of dependent utterances: errors of one speaker, session or recording are not independent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from linnet.errors import OptionError

Unit = Literal["speakers", "sessions", "recordings", "utterances"]
Floats = npt.NDArray[np.float64]

UNKNOWN = "no speaker, session or recording is known"
_FIELDS: dict[Unit, str] = {"speakers": "speaker", "sessions": "session", "recordings": "recording"}


@dataclass(frozen=True)
class ResamplingClusters:
    """The cluster of each utterance: `index[i]`, from 0 to `count` - 1, is that of utterance i."""

    unit: Unit
    index: npt.NDArray[np.intp]
    count: int
    why: str = UNKNOWN  # the reason why utterances are resampled

    @classmethod
    def of(cls, unit: Unit, names: Sequence[str]) -> ResamplingClusters:
        """Utterances with the same name form one cluster.

        >>> ResamplingClusters.of("speakers", ["anna", "ben", "anna"]).sums([1, 2, 4]).tolist()
        [5.0, 2.0]
        """
        known: dict[str, int] = {}
        index = np.array([known.setdefault(name, len(known)) for name in names], np.intp)
        return cls(unit, index, len(known))

    @classmethod
    def single(cls, utterances: int, why: str = UNKNOWN) -> ResamplingClusters:
        """Each utterance is its own cluster; `why` is the reason."""
        return cls("utterances", np.arange(utterances), utterances, why)

    def sums(self, values: Iterable[float] | Floats) -> Floats:
        """Sum the utterances' values per cluster, [count]."""
        weights = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
        return np.bincount(self.index, weights, self.count).astype(np.float64)

    def among(self, utterances: Sequence[int]) -> ResamplingClusters:
        """The clusters of a subset of the utterances, in this order."""
        known, index = np.unique(self.index[list(utterances)], return_inverse=True)
        return ResamplingClusters(self.unit, index, len(known), self.why)


def choose_clusters(rows: Sequence[Any], by: Unit | None = None) -> ResamplingClusters:
    """Cluster by speaker if every row names one and there are at least two; else by session, recording or utterance.

    Rows have `speaker`, `session`, `recording` and `audio`; rows cut from the same `audio` are one recording. `by`
    selects one of them.

    Raises:
        OptionError: `by` is no unit, or not all rows name it, or all name the same.
    """
    if by is not None and by not in get_args(Unit):
        raise OptionError(f"clusters by {by!r} are unknown: use {', '.join(get_args(Unit))}")
    for unit in _FIELDS if by is None else [by]:
        names = _names(rows, unit)
        if names is not None and len(set(names)) > 1:
            return ResamplingClusters.of(unit, names)
    if by is None or by == "utterances":
        return ResamplingClusters.single(len(rows), _why_single(rows))
    raise OptionError(
        f"clusters by {by} need a {_FIELDS[by]} for each row, and at least two: name them in the manifest, or leave "
        "the choice out"
    )


def _why_single(rows: Sequence[Any]) -> str:
    """Why speakers, sessions or recordings cannot be used."""
    for unit, name in _FIELDS.items():
        known = {value for row in rows if (value := getattr(row, name, None))}
        if len(known) == 1 and _names(rows, unit) is not None:
            return f"only one {name} is known"
        if known and _names(rows, unit) is None:
            return f"not every utterance names its {name}"
    audio = [getattr(row, "audio", None) for row in rows]
    return "only one recording is known" if len(rows) > 1 and all(audio) and len(set(audio)) == 1 else UNKNOWN


def _names(rows: Sequence[Any], unit: Unit) -> list[str] | None:
    if unit == "utterances":
        return None
    names = [getattr(row, _FIELDS[unit], None) for row in rows]
    if all(names):
        return [str(name) for name in names]
    if unit == "recordings":
        audio = [getattr(row, "audio", None) for row in rows]
        if all(audio) and len(set(audio)) < len(audio):
            return [str(name) for name in audio]
    return None
