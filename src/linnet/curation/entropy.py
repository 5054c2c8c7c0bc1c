"""The entropy of each row from its counts, in bits, by estimators that differ in their treatment of unseen kinds.
Counts are those of one row: n_i of K kinds, N in total.

The plug-in estimate grows with N if N < K; no correction makes short and long rows fully comparable, so
`linnet.curation.moments` compares rows of similar length. A row without counts has no entropy: NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linnet.curation.ragged import Ragged
from linnet.settings import unknown

Floats = NDArray[np.float64]

RAREFIED_TO: Final = 32
_EULER: Final = 0.5772156649015329


def plug_in(counts: Ragged) -> Floats:
    """-sum p log2 p with p = n_i / N, [N rows].

    >>> plug_in(Ragged.from_lists([[1, 1, 1, 1], [5]], np.int64)).tolist()
    [2.0, 0.0]
    """
    total = _totals(counts)
    bits: Floats = np.maximum(np.log2(total) - counts.replace(_n_log_n(counts.values)).sums() / total, 0.0)
    return bits


def miller_madow(counts: Ragged) -> Floats:
    """The plug-in estimate plus its bias to first order, (K - 1) / (2 N ln 2) (Miller 1955)."""
    bias: Floats = (counts.lengths - 1) / (2.0 * _totals(counts) * np.log(2.0))
    return plug_in(counts) + bias


def grassberger(counts: Ragged) -> Floats:
    """log2 N - (1 / N) sum n_i G(n_i) / ln 2 (Grassberger 2003, https://arxiv.org/abs/physics/0307138, equation 35)."""
    total = _totals(counts)
    if not len(counts.values):
        return total
    table = _g(int(counts.values.max()))
    bits: Floats = np.log2(total) - counts.sums(table[counts.values]) / (total * np.log(2.0))
    return bits


def chao_shen(counts: Ragged) -> Floats:
    """By coverage and Horvitz-Thompson weights (Chao and Shen 2003, "Nonparametric estimation of Shannon's index").

    The coverage is C = 1 - f_1 / N, with f_1 kinds seen once; if all were, f_1 = N - 1.
    """
    total = _totals(counts)
    singles = counts.replace(counts.values == 1).sums()
    coverage = 1.0 - np.where(singles == total, total - 1.0, singles) / total
    rows = counts.rows
    share = coverage[rows] * counts.values / total[rows]
    with np.errstate(divide="ignore"):  # a share of 1 is always seen
        seen = -np.expm1(total[rows] * np.log1p(-np.minimum(share, 1.0)))
    sums = counts.replace(-share * np.log2(share) / seen).sums()
    return np.where(np.isnan(total), np.nan, sums + 0.0)


def rarefied(counts: Ragged, size: int = RAREFIED_TO) -> Floats:
    """The expected plug-in estimate for `size` counts sampled without replacement; for all counts if N <= `size`.

    Rows of more than `size` counts become comparable (Hurlbert 1971). Exact, without sampling.
    """
    total = counts.sums()
    rows = counts.rows
    more = total[rows] > size
    result = plug_in(counts)
    most = int(counts.values.max()) + 1 if len(counts.values) else 1
    pairs, inverse = np.unique(total[rows][more] * most + counts.values[more], return_inverse=True)  # few are distinct
    terms = np.zeros(len(counts.values))
    terms[more] = _expected_terms(pairs // most, pairs % most, size)[inverse]
    return np.where(total > size, counts.replace(terms).sums(), result)


def _expected_terms(total: NDArray[Any], count: NDArray[Any], size: int) -> Floats:
    """E[-(k / m) log2(k / m)] for the number k among n = `count`, of m = `size` samples from N = `total`,
    hypergeometric."""
    from scipy.special import gammaln

    most = np.minimum(count, size)
    drawn = Ragged.from_lengths(np.concatenate([[0], *(np.arange(1, one + 1) for one in most)])[1:], most)
    n, whole, k = count[drawn.rows], total[drawn.rows], drawn.values
    possible = size - k <= whole - n
    other = np.where(possible, size - k, 0)

    def choose(a: NDArray[Any], b: NDArray[Any]) -> Floats:
        result: Floats = gammaln(a + 1.0) - gammaln(b + 1.0) - gammaln(a - b + 1.0)
        return result

    weight = np.exp(choose(n, k) + choose(whole - n, other) - choose(whole, np.full_like(whole, size)))
    return drawn.replace(np.where(possible, weight, 0.0) * -(k / size) * np.log2(k / size)).sums()


ESTIMATORS: Final[dict[str, Callable[[Ragged], Floats]]] = {
    "plug-in": plug_in,
    "miller-madow": miller_madow,
    "grassberger": grassberger,
    "chao-shen": chao_shen,
    "rarefied": rarefied,
}


def find_estimator(name: str) -> Callable[[Ragged], Floats]:
    """The estimator with this name. Raises `OptionError` for an unknown one."""
    if name not in ESTIMATORS:
        from linnet.errors import OptionError

        raise OptionError(unknown("entropy estimator", name, ESTIMATORS))
    return ESTIMATORS[name]


def _totals(counts: Ragged) -> Floats:
    """N of each row as a float; NaN if it is 0."""
    total = counts.sums().astype(np.float64)
    return np.where(total > 0, total, np.nan)


def _n_log_n(counts: NDArray[Any]) -> Floats:
    result: Floats = counts * np.log2(np.maximum(counts, 1))
    return result


def _g(most: int) -> Floats:
    """Grassberger's G(n) for n from 0 to `most`: G_1 = -gamma - ln 2, G_2k+1 = G_2k = G_2k-2 + 2 / (2k - 1)."""
    table = np.empty(max(most, 1) + 2)
    table[0] = 0.0
    table[1] = -_EULER - np.log(2.0)
    evens = 2.0 - _EULER - np.log(2.0) + np.concatenate([[0.0], np.cumsum(2.0 / np.arange(3.0, len(table), 2.0))])
    table[2::2] = evens[: len(table[2::2])]
    table[3::2] = table[2:-1:2][: len(table[3::2])]
    return table
