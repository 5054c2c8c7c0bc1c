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
    pairs = [
        (np.asarray(own, float), np.asarray(other, float)) for own, other in zip(groups, others or groups, strict=True)
    ]
    pairs = [(own, other) for own, other in pairs if len(own) and len(other)]
    if len(pairs) < 2:
        return None
    own = _Drawn([one for one, _ in pairs])
    other = None if others is None else _Drawn([one for _, one in pairs])
    rng = np.random.default_rng(seed)
    found = np.empty(resamples)
    for row in range(resamples):
        times = np.bincount(rng.integers(0, len(pairs), len(pairs)), minlength=len(pairs))
        found[row] = own.quantile(q, times) - (0.0 if other is None else other.quantile(q, times))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class _Drawn:
    """The values of groups, sorted once, of which each group may be taken several times."""

    def __init__(self, groups: Sequence[Floats]) -> None:
        values = np.concatenate(groups)
        order = np.argsort(values)
        self._values = values[order]
        self._group = np.repeat(np.arange(len(groups)), [len(group) for group in groups])[order]

    def quantile(self, q: float, times: npt.NDArray[np.intp]) -> float:
        """As NumPy's of all values, group i's `times[i]` times: linear between neighbors."""
        reached = np.cumsum(times[self._group])
        place = q * (reached[-1] - 1)
        low, high = self._values[np.searchsorted(reached, [np.floor(place), np.ceil(place)], side="right")]
        return float(low + (high - low) * (place - np.floor(place)))
