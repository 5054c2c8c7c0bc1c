"""Bins and selection against slow twins that follow the published description word by word."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.batching import Bins, Lengths, fit_bins, select
from linnet.data.batching.bins import equal_mass
from linnet.data.batching.selection import rate_scores
from linnet.errors import OptionError
from tests.support.lengths import corpora


def walk(lengths: list[float], parts: int) -> list[float]:
    """Add up from the shortest; where the sum passes its share, set a limit and begin again."""
    limits: list[float] = []
    running = 0.0
    for length in lengths:
        running += length
        if running > sum(lengths) / parts and len(limits) < parts - 1:
            limits.append(length)
            running = 0.0
    return [*limits, lengths[-1]]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=200), st.integers(1, 40))
def test_equal_mass_is_the_walk(values: list[int], parts: int) -> None:
    ordered = sorted(value / 8 for value in values)
    assert equal_mass(np.array(ordered), parts).tolist() == walk(ordered, parts)


def slow_bins(durations: list[float], tokens: list[int], groups: int, splits: int) -> list[tuple[float, int]]:
    limits = walk(sorted(durations), groups)
    pairs, most = [], 0
    for limit in sorted(set(limits)):
        lower = max([other for other in limits if other < limit], default=-1.0)
        inside = sorted(count for d, count in zip(durations, tokens, strict=True) if lower < d <= limit)
        within = walk([float(count) for count in inside], splits * limits.count(limit)) if splits > 1 else inside[-1:]
        *some, last = sorted(set(within))
        most = max(most, int(last))
        pairs += [(limit, int(count)) for count in some] + [(limit, most)]
    return pairs


@settings(deadline=None)
@given(corpora(), st.integers(1, 12), st.integers(1, 4))
def test_bins_are_those_of_the_slow_twin(lengths: Lengths, groups: int, splits: int) -> None:
    bins = fit_bins(lengths.durations, lengths.tokens, groups=groups, splits=splits)
    pairs = list(zip(bins.seconds.tolist(), bins.tokens.tolist(), strict=True))
    assert pairs == slow_bins(lengths.durations.tolist(), lengths.tokens.tolist(), groups, splits)
    assert (bins.find(lengths.durations, lengths.tokens) >= 0).all()


@settings(deadline=None)
@given(corpora(), corpora(), st.integers(1, 12), st.integers(1, 4))
def test_an_utterance_goes_into_the_first_bin_that_takes_it(
    fitted: Lengths, others: Lengths, groups: int, splits: int
) -> None:
    bins = fit_bins(fitted.durations, fitted.tokens, groups=groups, splits=splits)
    pairs = list(zip(bins.seconds.tolist(), bins.tokens.tolist(), strict=True))
    for found, d, t in zip(
        bins.find(others.durations, others.tokens), others.durations.tolist(), others.tokens.tolist(), strict=True
    ):
        fitting = [at for at, (seconds, tokens) in enumerate(pairs) if d <= seconds and t <= tokens]
        assert found == (fitting[0] if fitting else -1)


def test_masses_are_equal_but_for_one_utterance() -> None:
    random = np.random.default_rng(0)
    durations = random.gamma(4, 2, 20_000).astype(np.float32)
    limits = equal_mass(np.sort(durations), 30)
    masses = np.bincount(np.searchsorted(limits, durations), durations)
    share = durations.sum(dtype=np.float64) / 30
    assert len(masses) == 30
    assert np.abs(masses[:-1] - share).max() < durations.max()


@pytest.mark.parametrize(
    ("seconds", "tokens"),
    [([], []), ([1.0, 2.0], [1]), ([2.0, 1.0], [1, 2]), ([1.0, 1.0], [2, 2]), ([1.0, 2.0], [3, 2])],
)
def test_bins_out_of_order_are_refused(seconds: list[float], tokens: list[int]) -> None:
    with pytest.raises(OptionError, match="bins"):
        Bins(np.array(seconds), np.array(tokens))


def test_numbers_of_bins_are_checked() -> None:
    ones = Lengths(np.ones(3, np.float32), np.ones(3, np.int32))
    for groups, splits in ((0, 2), (2, 0), (2**15, 1)):
        with pytest.raises(OptionError, match="groups"):
            fit_bins(ones.durations, ones.tokens, groups=groups, splits=splits)
    with pytest.raises(OptionError, match="no utterance"):
        fit_bins(ones.durations[:0], ones.tokens[:0])


@settings(deadline=None)
@given(corpora())
def test_rate_scores_are_those_of_plain_statistics(lengths: Lengths) -> None:
    durations, tokens = lengths.durations.tolist(), lengths.tokens.tolist()
    limits = sorted(set(walk(sorted(durations), 30)))
    groups = [bisect_left(limits, d) for d in durations]
    scores = rate_scores(lengths.durations.astype(np.float64), lengths.tokens)
    for row, (d, count) in enumerate(zip(durations, tokens, strict=True)):
        rates = [
            math.log(c / other)
            for other, c, group in zip(durations, tokens, groups, strict=True)
            if c and group == groups[row]
        ]
        spread = max(statistics.pstdev(rates), 0.01) if rates else 0.01
        wanted = (math.log(count / d) - statistics.fmean(rates)) / spread if count else 0.0
        assert scores[row] == pytest.approx(wanted, abs=1e-6)


def test_selection_drops_what_it_names_and_keeps_silence() -> None:
    random = np.random.default_rng(1)
    durations = random.uniform(1, 20, 3000).astype(np.float32)
    tokens = np.round(durations * random.lognormal(np.log(3.3), 0.2, 3000)).astype(np.int32)
    tokens[[5, 6]] = durations[[5, 6]] * 40  # the text of another, longer recording
    tokens[7] = 1
    durations[7] = 19.0
    tokens[8] = 0  # silence
    durations[9], durations[10] = 0.0, 45.0
    selection = select(Lengths(durations, tokens), longest=40.0)
    assert {reason: rows.tolist() for reason, rows in selection.dropped.items()} == {
        "no audio": [9],
        "longer than 40 s": [10],
        "too many tokens per second": [5, 6],
        "too few tokens per second": [7],
    }
    assert sorted([*selection.rows, 5, 6, 7, 9, 10]) == list(range(3000))
    assert selection.lines()[0] == "2995 utterances are kept"
    assert "2 dropped: too many tokens per second (rows 5, 6)" in selection.lines()
    assert len(selection.lines()) == 5


def test_a_selection_of_nothing() -> None:
    empty = select(Lengths(np.zeros(0, np.float32), np.zeros(0, np.int32)))
    assert not len(empty.rows)
    assert empty.lines() == ["0 utterances are kept"]
