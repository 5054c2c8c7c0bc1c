"""How sure a quantile of times is, or the difference of two: a bootstrap over clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from linnet.scoring.clusters import Floats

RESAMPLES = 2000


def quantile_interval(
    groups: Sequence[Sequence[float] | Floats],
    q: float,
    *,
    others: Sequence[Sequence[float] | Floats] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The interval of the quantile `q` of all groups' values together, by drawing whole groups (Efron 1979).

    `groups[i]` are the values of speaker i. With `others`, values of the same speakers by another system, that of the
    difference of both quantiles, `groups`' minus `others`', each draw taking the same speakers of both. The ends are
    the percentiles of the draws, which with few speakers are too narrow. None with fewer than two groups that have
    values.

    >>> quantile_interval([[1.0], [1.0], [1.0]], 0.5)
    (1.0, 1.0)
    """
    pairs = [_pair(own, other) for own, other in zip(groups, others or groups, strict=True)]
    pairs = [(own, other) for own, other in pairs if len(own) and len(other)]
    if len(pairs) < 2:
        return None
    rng = np.random.default_rng(seed)
    found = np.empty(resamples)
    for row in range(resamples):
        drawn = [pairs[at] for at in rng.integers(0, len(pairs), len(pairs))]
        found[row] = np.quantile(np.concatenate([own for own, _ in drawn]), q)
        if others is not None:
            found[row] -= np.quantile(np.concatenate([other for _, other in drawn]), q)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _pair(own: npt.ArrayLike, other: npt.ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(own, np.float64), np.asarray(other, np.float64)
