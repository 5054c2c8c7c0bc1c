"""The cost of a batch, and the batch size that a budget allows.

    n utterances, D seconds of the longest, T tokens of the one with most

The paper's tool bisects the memory of each of 60 bins; its published batch sizes follow `n (aD + bD^2 + cT)` within 2
% on average, so a few measurements and a fit take the place of the search. Memory is a peak, and the moment of a step
at which it comes differs with the shape: long sounds with little text fill it in the encoder, short ones with much text
in the language model. No one formula follows both. So each moment gets its own, and a `Peak` is their maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.data.batching.arrays import Floats, Ints
from linnet.errors import OptionError

Shape = tuple[int, float, int]
_TERMS = 5  # fixed, n, n D, n D^2, n T
_SIZES = 2.0 ** np.arange(15)  # batch sizes at which the moments of a peak are compared
_STEPS = 12  # grid points in seconds and in tokens, likewise


@dataclass(frozen=True)
class Cost:
    """Cost of a batch of n: `fixed + n (u + per_second D + per_square_second D^2 + per_token T)`, in any one unit.

    u is `per_utterance`: a prompt, or a window that all audio is padded to. In bytes, `fixed` is the model itself. The
    default is the padded seconds of audio.

    >>> Cost(per_second=1, per_token=0.08).most(40.0, 250, budget=600)
    array(10)
    """

    per_second: float = 1.0
    per_square_second: float = 0.0
    per_token: float = 0.0
    fixed: float = 0.0
    per_utterance: float = 0.0

    def each(self, seconds: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """The cost of one utterance in a batch padded to this shape; arguments broadcast."""
        d, t = np.asarray(seconds, np.float64), np.asarray(tokens, np.float64)
        by_length = d * (self.per_second + self.per_square_second * d) + self.per_token * t
        return np.asarray(by_length + self.per_utterance)

    def of(self, utterances: npt.ArrayLike, seconds: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """The cost of whole batches; any shapes that broadcast."""
        return np.asarray(self.fixed + np.asarray(utterances, np.float64) * self.each(seconds, tokens))

    def most(self, seconds: npt.ArrayLike, tokens: npt.ArrayLike, budget: float) -> Ints:
        """The largest batch size of each shape within the budget, possibly zero.

        Raises:
            OptionError: an utterance of such a shape costs nothing.
        """
        return _most(self, (self,), seconds, tokens, budget)

    def errors(self, shapes: Sequence[Shape], measured: Sequence[float]) -> Floats:
        """Relative errors (predicted / measured - 1) at shapes (n, D, T)."""
        return self.of(*_columns(shapes)) / np.asarray(measured, np.float64) - 1


@dataclass(frozen=True)
class Peak:
    """The maximum of several costs at each shape: the peak memory over the moments of a step.

    >>> peak = Peak((Cost(per_second=5, per_token=0), Cost(per_second=1, per_token=1)))
    >>> peak.of(2, [10.0, 1.0], [8, 30])
    array([100.,  62.])
    """

    moments: tuple[Cost, ...]

    @property
    def fixed(self) -> float:
        """The minimum cost of any batch."""
        return max(moment.fixed for moment in self.moments)

    def each(self, seconds: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """The maximum cost of one utterance in a batch padded to this shape."""
        return np.asarray(np.max([moment.each(seconds, tokens) for moment in self.moments], axis=0))

    def of(self, utterances: npt.ArrayLike, seconds: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """The cost of whole batches; any shapes that broadcast."""
        return np.asarray(np.max([moment.of(utterances, seconds, tokens) for moment in self.moments], axis=0))

    def most(self, seconds: npt.ArrayLike, tokens: npt.ArrayLike, budget: float) -> Ints:
        """The largest batch size within the budget at every moment, as `Cost.most`."""
        return _most(self, self.moments, seconds, tokens, budget)

    def errors(self, shapes: Sequence[Shape], measured: Sequence[float]) -> Floats:
        """Relative errors (predicted / measured - 1) at shapes (n, D, T)."""
        return self.of(*_columns(shapes)) / np.asarray(measured, np.float64) - 1


def _most(
    cost: Cost | Peak, moments: Sequence[Cost], seconds: npt.ArrayLike, tokens: npt.ArrayLike, budget: float
) -> Ints:
    if np.any(cost.each(seconds, tokens) <= 0):
        raise OptionError(f"{cost} says that some utterances cost nothing: fit it to more shapes.")
    with np.errstate(divide="ignore", invalid="ignore"):
        room = [np.maximum(budget - each.fixed, 0) // each.each(seconds, tokens) for each in moments]
    # a moment whose cost is independent of the batch sets no bound: nan or infinity
    count = np.fmin.reduce(room).clip(0, 2**62).astype(np.int64)
    count -= (count > 0) & (cost.of(count, seconds, tokens) > budget)  # a rounding error too many
    return np.where(cost.of(1, seconds, tokens) > budget, 0, count)


def _columns(shapes: Sequence[Shape]) -> tuple[Floats, Floats, Floats]:
    n, d, t = np.asarray(shapes, np.float64).reshape(-1, 3).T
    return n, d, t


def fit_cost(shapes: Sequence[Shape], measured: Sequence[float], *, known: float = 0.0) -> Cost:
    """Fit a cost by non-negative least squares on relative errors at the measured shapes (n, D, T).

    `known` is the known part of the fixed cost, such as the bytes of the weights. Shapes must vary in n, D and T; eight
    are enough, at the corners and along the diagonal of those that occur.

    >>> shapes = [(1, 5, 20), (8, 5, 20), (1, 30, 20), (4, 30, 200), (2, 15, 100)]
    >>> fit_cost(shapes, [7 + n * (2 * d + 0.1 * d * d + 0.5 * t) for n, d, t in shapes]).per_second.__round__(6)
    2.0

    Raises:
        OptionError: too few or too similar shapes, or a measurement that is not positive.
    """
    return _fit(_terms(shapes, len(measured)), measured, known)


def fit_peak(shapes: Sequence[Shape], moments: Sequence[Sequence[float]], *, known: float = 0.0) -> Peak:
    """Fit a cost to each moment of a step by `fit_cost`, from its measurements at all shapes.

    Only moments are kept that are the largest for some batch within the measured seconds and tokens.

    Raises:
        OptionError: as `fit_cost`.
    """
    terms = _terms(shapes, len(moments[0]))
    fits = list(dict.fromkeys(_fit(terms, each, known) for each in moments))
    _, d, t = _columns(shapes)
    n, d, t = np.meshgrid(_SIZES, np.linspace(d.min(), d.max(), _STEPS), np.linspace(t.min(), t.max(), _STEPS))
    highest = np.unique(np.argmax([fit.of(n, d, t) for fit in fits], axis=0))
    return Peak(tuple(fits[at] for at in highest))


def _terms(shapes: Sequence[Shape], count: int) -> Floats:
    """The terms [M, K] of the coefficients. Raises `OptionError` where these would be ambiguous."""
    n, d, t = _columns(shapes)
    terms = np.stack([np.ones_like(n), n, n * d, n * d * d, n * t], axis=1)
    if len(terms) != count or count < _TERMS:
        raise OptionError(f"{len(terms)} shapes and {count} measurements: give one for each, {_TERMS} at least.")
    scale = np.abs(terms).max(axis=0)
    if not scale.all() or np.linalg.matrix_rank(terms / scale) < _TERMS:
        raise OptionError("the measured shapes are too alike: vary the batch size, the seconds and the tokens.")
    return terms


def _fit(terms: Floats, measured: Sequence[float], known: float) -> Cost:
    from scipy.optimize import nnls

    target = np.asarray(measured, np.float64)
    if not np.all(np.isfinite(target) & (target > 0)):
        raise OptionError(f"measured costs must be positive numbers, got {list(measured)}.")
    scale = np.abs(terms).max(axis=0)
    found = nnls(terms / scale / target[:, None], 1 - known / target)[0] / scale
    fixed, utterance, second, square, token = found.tolist()
    return Cost(second, square, token, fixed + known, utterance)
