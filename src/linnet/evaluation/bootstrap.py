"""How sure a corpus word error rate is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]

RESAMPLES = 5000
FEWEST_SPEAKERS = 5  # with fewer, resampling them says next to nothing
_CHUNK = 2_000_000  # drawn indices held at once


@dataclass(frozen=True)
class Interval:
    """Where the corpus WER lies with the probability `level`, had other units of the same kind been recorded."""

    low: float
    high: float
    level: float
    unit: Literal["utterances", "speakers"]
    units: int
    resamples: int
    seed: int


def bootstrap_interval(
    errors: Sequence[int],
    words: Sequence[int],
    *,
    speakers: Sequence[str | None] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap of errors summed over words summed (Bisani and Ney 2004), resampling utterances.

    `errors[i]` and `words[i]` belong to utterance i. Where every speaker is known and there are at least five, whole
    speakers are resampled (Liu et al. 2019, blockwise bootstrap), since one speaker's errors hang together. `None`
    where there are fewer than two units or no words. With no error at all the interval is 0 to 0: then the number of
    words says more.

    >>> interval = bootstrap_interval([1, 0, 2, 0], [5, 5, 5, 5])
    >>> interval.low <= 3 / 20 <= interval.high
    True
    """
    wrong: Counts = np.asarray(errors, np.float64)
    spoken: Counts = np.asarray(words, np.float64)
    unit: Literal["utterances", "speakers"] = "utterances"
    if speakers and all(speakers) and len(set(speakers)) >= FEWEST_SPEAKERS:
        _, group = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
        wrong, spoken = (np.bincount(group, counts).astype(np.float64) for counts in (wrong, spoken))
        unit = "speakers"
    if len(wrong) < 2 or not spoken.any():
        return None
    rates = _resampled_rates(wrong, spoken, resamples, np.random.default_rng(seed))
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, unit, len(wrong), resamples, seed)


def _resampled_rates(errors: Counts, words: Counts, resamples: int, random: np.random.Generator) -> Counts:
    """Rates of corpora drawn with replacement, [resamples] (those without a word are left out)."""
    units = len(errors)
    step = max(1, _CHUNK // units)
    rates = []
    for begin in range(0, resamples, step):
        drawn = random.integers(0, units, size=(min(step, resamples - begin), units))
        spoken = words[drawn].sum(axis=1)
        rates.append(errors[drawn].sum(axis=1)[spoken > 0] / spoken[spoken > 0])
    return np.concatenate(rates)
