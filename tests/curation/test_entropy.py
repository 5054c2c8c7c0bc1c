"""Entropy of rows against closed forms, the definitions written out, and known distributions."""

from __future__ import annotations

from math import comb, log, log2

import numpy as np
import pytest
from scipy.special import digamma

from linnet.curation.counting import group
from linnet.curation.entropy import ESTIMATORS, chao_shen, find_estimator, grassberger, miller_madow, plug_in, rarefied
from linnet.curation.ragged import Ragged
from linnet.errors import OptionError

COUNTS = [[3, 1, 2], [1], [4, 4, 4, 4], [1, 1, 1], [40, 1, 7, 19], [2, 2], [90, 30, 17, 1, 1]]
ROWS = Ragged.from_lists(COUNTS, np.int64)


def entropy(shares):
    return -sum(share * log2(share) for share in shares if share)


def g(n):
    return digamma(n) + (-1) ** n / 2 * (digamma((n + 1) / 2) - digamma(n / 2))


def chao_shen_twin(counts):
    total = sum(counts)
    singles = counts.count(1)
    coverage = 1 - (total - 1 if singles == total else singles) / total
    shares = [coverage * count / total for count in counts]
    return -sum(share * log2(share) / (1 - (1 - share) ** total) for share in shares)


def rarefied_twin(counts, size):
    total = sum(counts)
    if total <= size:
        return entropy(count / total for count in counts)
    return sum(
        comb(count, k) * comb(total - count, size - k) / comb(total, size) * -(k / size) * log2(k / size)
        for count in counts
        for k in range(1, min(count, size) + 1)
        if size - k <= total - count
    )


def test_each_estimator_is_its_definition():
    plain = [entropy(count / sum(counts) for count in counts) for counts in COUNTS]
    assert plug_in(ROWS) == pytest.approx(plain, abs=1e-12)
    madow = [one + (len(counts) - 1) / (2 * sum(counts) * log(2)) for one, counts in zip(plain, COUNTS, strict=True)]
    assert miller_madow(ROWS) == pytest.approx(madow, abs=1e-12)
    grass = [log2(sum(counts)) - sum(n * g(n) for n in counts) / sum(counts) / log(2) for counts in COUNTS]
    assert grassberger(ROWS) == pytest.approx(grass, abs=1e-9)
    assert chao_shen(ROWS) == pytest.approx([chao_shen_twin(counts) for counts in COUNTS], abs=1e-9)
    for size in (2, 5, 32):
        assert rarefied(ROWS, size) == pytest.approx([rarefied_twin(counts, size) for counts in COUNTS], abs=1e-9)


def test_an_empty_row_has_no_entropy():
    rows = Ragged.from_lists([[], [1, 1]], np.int64)
    for estimate in ESTIMATORS.values():
        assert np.isnan(estimate(rows)).tolist() == [True, False]
        assert np.isnan(estimate(Ragged.from_lists([[]], np.int64))).all()


def test_corrections_come_nearer_to_the_truth():
    rng = np.random.default_rng(3)
    shares = 1.0 / np.arange(1, 101)
    shares /= shares.sum()
    draws = Ragged.from_lists(list(rng.choice(100, (300, 60), p=shares)), np.int64)
    counts = group(draws).counts
    truth = entropy(shares)
    error = {name: abs(ESTIMATORS[name](counts).mean() - truth) for name in ESTIMATORS}
    assert error["plug-in"] > 0.6
    assert error["miller-madow"] < 0.7 * error["plug-in"]
    assert max(error["grassberger"], error["chao-shen"]) < 0.5 * error["plug-in"]


def test_rarefied_rows_of_any_length_are_alike():
    rng = np.random.default_rng(4)
    means = []
    for length in (40, 400, 4000):
        draws = Ragged.from_lists(list(rng.integers(0, 64, (60, length))), np.int64)
        means.append(rarefied(group(draws).counts).mean())
    assert np.ptp(means) < 0.05


def test_an_unknown_estimator_names_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'rarefied'"):
        find_estimator("rarified")
