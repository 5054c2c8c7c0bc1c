"""What a batch costs, and how many utterances a budget allows.

    n utterances, D seconds of the longest, T tokens of the one with most

The paper's tool bisects the memory of each of 60 bins; its published batch sizes follow `n (aD + bD^2 + cT)` within 2
% on average, so a few measurements and a fit take the place of the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from linnet.data.batching.arrays import Floats, Ints
from linnet.errors import OptionError

_TERMS = 4  # fixed, n D, n D^2, n T


@dataclass(frozen=True)
class Cost:
    """Cost of a batch of n: `fixed + n (per_second D + per_square_second D^2 + per_token T)`, in any one unit.

    In bytes, `fixed` is what the model itself takes. The default is the padded seconds of audio.

    >>> Cost(per_second=1, per_token=0.08).most(40.0, 250, budget=600)
    array(10)
    """

    per_second: float = 1.0
    per_square_second: float = 0.0
    per_token: float = 0.0
    fixed: float = 0.0

    def each(self, seconds: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """What one utterance adds to a batch that is padded to this shape; any shapes that broadcast."""
        d, t = np.asarray(seconds, np.float64), np.asarray(tokens, np.float64)
        return np.asarray(d * (self.per_second + self.per_square_second * d) + self.per_token * t)

    def of(self, utterances: npt.ArrayLike, seconds: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """The cost of whole batches; any shapes that broadcast."""
        return np.asarray(self.fixed + np.asarray(utterances, np.float64) * self.each(seconds, tokens))

    def most(self, seconds: npt.ArrayLike, tokens: npt.ArrayLike, budget: float) -> Ints:
        """The largest batch of each shape that stays within the budget; zero where not even one utterance does.

        Raises:
            OptionError: an utterance of such a shape costs nothing, so no batch is too large.
        """
        each = self.each(seconds, tokens)
        if np.any(each <= 0):
            raise OptionError(f"{self} says that some utterances cost nothing: fit it to more shapes.")
        count = np.maximum((budget - self.fixed) // each, 0).astype(np.int64)
        return np.asarray(count - ((count > 0) & (self.of(count, seconds, tokens) > budget)))

    def errors(self, shapes: Sequence[tuple[int, float, int]], measured: Sequence[float]) -> Floats:
        """Relative errors (predicted / measured - 1) at shapes (n, D, T)."""
        n, d, t = np.asarray(shapes, np.float64).reshape(-1, 3).T
        return self.of(n, d, t) / np.asarray(measured, np.float64) - 1


def fit_cost(shapes: Sequence[tuple[int, float, int]], measured: Sequence[float]) -> Cost:
    """The cost whose relative errors at the measured shapes (n, D, T) have the least sum of squares.

    No coefficient is negative, so a larger batch never costs less. To tell the terms apart the shapes must differ in
    n, in D and in T; eight are enough, at the corners and along the diagonal of what occurs.

    >>> shapes = [(1, 5, 20), (8, 5, 20), (1, 30, 20), (4, 30, 200), (2, 15, 100)]
    >>> fit_cost(shapes, [7 + n * (2 * d + 0.1 * d * d + 0.5 * t) for n, d, t in shapes]).per_second.__round__(6)
    2.0

    Raises:
        OptionError: too few or too similar shapes, or a measurement that is not positive.
    """
    target = np.asarray(measured, np.float64)
    n, d, t = np.asarray(shapes, np.float64).reshape(-1, 3).T
    terms = np.stack([np.ones_like(n), n * d, n * d * d, n * t], axis=1)
    if len(terms) != len(target) or len(target) < _TERMS:
        raise OptionError(f"{len(terms)} shapes and {len(target)} measurements: give one for each, {_TERMS} at least.")
    if not np.all(np.isfinite(target) & (target > 0)):
        raise OptionError(f"measured costs must be positive numbers, got {list(measured)}.")
    scale = np.abs(terms).max(axis=0)
    if not scale.all() or np.linalg.matrix_rank(terms / scale) < _TERMS:
        raise OptionError("the measured shapes are too alike: vary the batch size, the seconds and the tokens.")
    fixed, second, square, token = _nonnegative(terms / scale / target[:, None]) / scale
    return Cost(float(second), float(square), float(token), float(fixed))


def _nonnegative(terms: Floats) -> Floats:
    """Coefficients [K], none negative, that bring `terms` [M, K] @ coefficients nearest to ones.

    The optimum is the plain least-squares solution over its own non-zero terms, and four terms have only fifteen such
    choices: all are tried.
    """
    best, least = np.zeros(terms.shape[1]), float(len(terms))
    for size in range(1, terms.shape[1] + 1):
        for chosen in combinations(range(terms.shape[1]), size):
            found = np.zeros(terms.shape[1])
            found[list(chosen)] = np.linalg.lstsq(terms[:, chosen], np.ones(len(terms)), rcond=None)[0]
            error = float(((terms @ found - 1) ** 2).sum())
            if found.min() >= 0 and error < least:
                best, least = found, error
    return best
