"""Whether two systems differ: MAPSSWE, Holm's adjustment for many comparisons, several runs of one system."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from linnet.errors import OptionError
from linnet.scoring.alignment import Alignment
from linnet.scoring.bootstrap import RESAMPLES, Ratio, bootstrap_ratio, student_t
from linnet.scoring.clusters import Floats, ResamplingClusters

GOOD_WORDS = 2  # correct in both systems: errors before them cannot have caused errors after them


@dataclass(frozen=True)
class MatchedPairs:
    """The result of the matched-pairs test on `segments` stretches in which either system erred."""

    segments: int
    mean: float  # errors of A minus errors of B, per segment
    deviation: float
    z: float | None  # None: all differences are equal
    p_value: float  # two-sided, for equal error rates


def mapsswe(pairs: Iterable[tuple[Alignment, Alignment]]) -> MatchedPairs:
    """The matched-pairs sentence-segment word error test (Gillick and Cox 1989) as in NIST's sc_stats.

    Each pair aligns two systems' hypotheses with the same reference. Segments end where both have `GOOD_WORDS`
    consecutive words correct, with nothing inserted between; the differences of their errors are assumed to be
    independent and their mean normal, so it needs about fifty segments. Speakers are ignored: if they are known, prefer
    the bootstrap over them. If all differences are equal, p is that of the sign test.
    """
    differences = np.array([a - b for first, second in pairs for a, b in segment_errors(first, second)], np.float64)
    count = len(differences)
    if not differences.any():
        return MatchedPairs(count, 0.0, 0.0, None, 1.0)
    mean = float(differences.mean())
    if (differences == mean).all():
        return MatchedPairs(count, mean, 0.0, None, 2.0 ** (1 - count))
    deviation = float(differences.std(ddof=1))
    z = mean / (deviation / math.sqrt(count))
    return MatchedPairs(count, mean, deviation, z, 2 * NormalDist().cdf(-abs(z)))


def segment_errors(first: Alignment, second: Alignment) -> list[tuple[int, int]]:
    """The errors of both systems in each segment of an utterance in which either erred."""
    if first.reference != second.reference:
        raise OptionError("two systems can be compared only if their normalized references are equal")
    found: list[tuple[int, int]] = []
    errors, good = [0, 0], 0
    wrongs = (first.wrong, second.wrong)
    for place in range(len(first.reference) + 1):
        inserted = [len(alignment.inserted[place]) for alignment in (first, second)]
        wrong = [place < len(marks) and marks[place] for marks in wrongs]
        errors = [sum(counts) for counts in zip(errors, inserted, wrong, strict=True)]
        if any(inserted):
            good = 0
        good = 0 if any(wrong) else good + 1
        if any(errors) and (good == GOOD_WORDS or place == len(first.reference)):
            found.append((errors[0], errors[1]))
            errors = [0, 0]
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for multiple comparisons (Holm 1979), in their order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def runs_difference(
    errors_a: Floats,
    errors_b: Floats,
    words: Floats,
    *,
    clusters: ResamplingClusters,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ratio | None:
    """The difference of two systems' mean error rates, generalizing over clusters and seeds.

    `errors_a` [runs of A, utterances] and `errors_b` [runs of B, utterances] are the errors of systems trained several
    times; `words` [utterances]. The variances of the clusters and of each system's runs add up, and Student's t has the
    degrees of freedom of Welch and Satterthwaite (1946). A system with one run has no variance for its seed. `None` for
    fewer than two clusters or no words.
    """
    apart = errors_a.mean(axis=0) - errors_b.mean(axis=0)
    over_blocks = bootstrap_ratio(apart, words, clusters=clusters, level=level, resamples=resamples, seed=seed)
    if over_blocks is None or (len(errors_a) < 2 and len(errors_b) < 2):
        return over_blocks
    parts = [(over_blocks.error**2, clusters.count - 1)]
    for errors in (errors_a, errors_b):
        if len(errors) > 1:
            rates = errors.sum(axis=1) / words.sum()
            parts.append((float(rates.var(ddof=1)) / len(rates), len(rates) - 1))
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return over_blocks
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = math.sqrt(variance)
    reach, p_value = student_t(freedom, level, over_blocks.value / error)
    low, high = over_blocks.value - reach * error, over_blocks.value + reach * error
    old = over_blocks.interval
    wider = replace(
        old,
        low=min(low, old.low),
        high=max(high, old.high),
        unit=clusters.unit,
        units=clusters.count,
        method="t over clusters and runs",
        why=clusters.why,
    )
    return Ratio(over_blocks.value, error, wider, max(p_value, over_blocks.p_value))
