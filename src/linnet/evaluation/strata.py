"""A corpus stratified by language, speaker, duration and noise level."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from linnet.evaluation.log import ScoredRow
from linnet.scoring.bootstrap import Ratio, bootstrap_ratio
from linnet.scoring.clusters import ResamplingClusters
from linnet.scoring.scores import WordErrors, total
from linnet.scoring.significance import holm

SECONDS = (2.0, 5.0, 10.0, 30.0)
DECIBELS = (0.0, 10.0, 20.0, 30.0)
MOST = 50  # strata of one field; smaller ones are combined
OTHERS = "(others)"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Stratum:
    """The utterances with one value of `field`, and the word errors of two systems on them."""

    field: str
    value: str
    utterances: int
    a: WordErrors
    b: WordErrors
    difference: Ratio | None  # of the rates, A minus B; None: fewer than two clusters, or no words
    p_value: float | None  # adjusted for the number of strata of the field (Holm 1979)


def binned(value: float | None, edges: Sequence[float], unit: str) -> str | None:
    """The name of the bin that a value falls into; None for an unknown value.

    >>> binned(3.0, SECONDS, "s"), binned(-2, DECIBELS, "dB"), binned(30, SECONDS, "s")
    ('2 to 5 s', 'below 0 dB', '30 s and more')
    """
    return None if value is None else _bins(edges, unit)[bisect_right(edges, value)]


def _bins(edges: Sequence[float], unit: str) -> list[str]:
    between = [f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g} {unit}", *between, f"{edges[-1]:g} {unit} and more"]


_BINS = {name: place for place, name in enumerate([*_bins(SECONDS, "s"), *_bins(DECIBELS, "dB")])}


FIELDS: Mapping[str, Callable[[ScoredRow], str | None]] = {
    "language": lambda row: row.language or row.detected_language,
    "speaker": lambda row: row.speaker,
    "duration": lambda row: binned(row.duration or None, SECONDS, "s"),
    "noise": lambda row: binned(row.snr, DECIBELS, "dB"),
}


def stratify(
    field: str,
    first: Sequence[ScoredRow],
    second: Sequence[ScoredRow],
    clusters: ResamplingClusters,
    *,
    level: float,
    seed: int,
) -> list[Stratum]:
    """Strata of the rows of the same utterances by a field of `FIELDS`: bins in order, else those with most words
    first.

    Rows without a value are the stratum "(unknown)". Empty where all rows fall into one stratum. The clusters are those
    of the corpus, or utterances where a stratum is a single cluster.
    """
    parts: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(first):
        parts[FIELDS[field](row) or "(unknown)"].append(place)
    if len(parts) < 2:
        return []
    sized = sorted(
        parts.items(),
        key=lambda part: (_BINS.get(part[0], len(_BINS)), -sum(first[place].words for place in part[1]), part[0]),
    )
    if len(sized) > MOST:
        rest = [place for _, places in sized[MOST:] for place in places]
        sized = [*sized[:MOST], (f"{OTHERS}: {len(sized) - MOST}", rest)]
    found = [
        _stratum(field, value, [(first[place], second[place]) for place in places], clusters.among(places), level, seed)
        for value, places in sized
    ]
    known = [stratum for stratum in found if stratum.p_value is not None]
    adjusted = iter(holm([stratum.p_value for stratum in known if stratum.p_value is not None]))
    return [stratum if stratum.p_value is None else replace(stratum, p_value=next(adjusted)) for stratum in found]


def _stratum(
    field: str,
    value: str,
    pairs: Sequence[tuple[ScoredRow, ScoredRow]],
    clusters: ResamplingClusters,
    level: float,
    seed: int,
) -> Stratum:
    differences = [a.counts.errors - b.counts.errors for a, b in pairs]
    difference = bootstrap_ratio(
        np.array(differences, np.float64),
        np.array([a.words for a, _ in pairs], np.float64),
        clusters=clusters if clusters.count > 1 else ResamplingClusters.single(len(pairs)),
        level=level,
        resamples=_RESAMPLES,
        seed=seed,
    )
    return Stratum(
        field=field,
        value=value,
        utterances=len(pairs),
        a=total(a.counts for a, _ in pairs),
        b=total(b.counts for _, b in pairs),
        difference=difference,
        p_value=None if difference is None else difference.p_value,
    )
