"""Lags, first text, erasure, prefix errors, lagging and pace, each beside a slow twin or a closed form."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.scoring.latency import (
    DisplayUpdate,
    Pace,
    Quantiles,
    SpokenWord,
    Units,
    WordLag,
    average_lagging,
    erased,
    first_stable,
    first_text,
    prefix_errors,
    word_lags,
)
from linnet.scoring.quantiles import quantile_interval
from linnet.scoring.scores import edits

WORDS = st.sampled_from(["a", "b", "c"])


@st.composite
def screens(draw: st.DrawFn) -> list[DisplayUpdate]:
    """Changes in order of time, wall never before audio."""
    shown, audio, wall = [], 0.0, 0.0
    for _ in range(draw(st.integers(0, 8))):
        audio += draw(st.floats(0.0, 1.0))
        wall = max(wall, audio) + draw(st.floats(0.0, 1.0))
        final, tail = draw(st.lists(WORDS, max_size=3)), draw(st.lists(WORDS, max_size=3))
        shown.append(DisplayUpdate(audio, wall, tuple(final), tuple(tail)))
    return shown


@st.composite
def references(draw: st.DrawFn) -> list[SpokenWord]:
    """Words in order."""
    words, time = [], 0.0
    for text in draw(st.lists(WORDS, max_size=8)):
        start = time + draw(st.floats(0.0, 1.0))
        time = start + draw(st.floats(0.01, 1.0))
        words.append(SpokenWord(text, start, time))
    return words


def whole_screens(shown: list[DisplayUpdate]) -> list[list[str]]:
    """All words on screen after each change."""
    final: list[str] = []
    found = []
    for change in shown:
        final += change.final
        found.append([*final, *change.tail])
    return found


def test_words_are_final_and_there_to_stay_at_their_own_times() -> None:
    said = [SpokenWord("one", 0.0, 0.5), SpokenWord("two", 0.6, 1.0), SpokenWord("three", 1.1, 2.0)]
    shown = [
        DisplayUpdate(0.6, 0.7, (), ("one",)),
        DisplayUpdate(0.9, 1.0, (), ("one", "too")),
        DisplayUpdate(1.2, 1.5, ("one",), ("two",)),
        DisplayUpdate(1.5, 1.6, (), ("oh", "two")),  # no longer at its place
        DisplayUpdate(1.8, 2.0, (), ("two",)),
        DisplayUpdate(2.5, 2.9, ("two", "tree"), ()),
    ]
    first, second = word_lags(said, shown)  # "three" was not recognized
    assert first == WordLag(said[0], *map(pytest.approx, (0.7, 1.0, 0.1, 0.2)))
    assert second == WordLag(said[1], *map(pytest.approx, (1.5, 1.9, 0.8, 1.0)))


def test_only_words_with_measured_times_have_a_lag() -> None:
    said = [SpokenWord("one", 0.0, 0.5, sure=False), SpokenWord("two", 0.5, 1.0)]
    assert [lag.word.text for lag in word_lags(said, [DisplayUpdate(2.0, 2.0, ("one", "two"))])] == ["two"]


@settings(deadline=None)
@given(screens())
def test_a_word_is_there_to_stay_as_the_slow_twin_says(shown: list[DisplayUpdate]) -> None:
    final = [word for change in shown for word in change.final]
    screens_ = whole_screens(shown)
    found = first_stable(shown)
    assert len(found) == len(final)
    for place, word in enumerate(final):
        right = [place < len(screen) and screen[place] == word for screen in screens_]
        since = max((at + 1 for at, one in enumerate(right) if not one), default=0)
        assert found[place] is shown[since]


@settings(deadline=None)
@given(screens())
def test_erasure_is_what_the_screens_lose(shown: list[DisplayUpdate]) -> None:
    screens_ = whole_screens(shown)
    lost = 0
    for before, after in pairwise(screens_):
        common = 0
        while common < min(len(before), len(after)) and before[common] == after[common]:
            common += 1
        lost += len(before) - common
    assert erased(shown) == lost


@settings(deadline=None)
@given(references(), screens(), st.lists(st.floats(0.0, 10.0), max_size=6))
def test_prefix_errors_as_the_slow_twin_counts(
    said: list[SpokenWord], shown: list[DisplayUpdate], times: list[float]
) -> None:
    screens_ = whole_screens(shown)
    points = [(0.8 * wall, wall) for wall in sorted(times)]
    for clock, at in (("audio", 0), ("wall", 1)):
        words = errors = 0
        for point in points:
            spoken = [word.text for word in said if word.start <= point[at]]
            changes = [number for number, change in enumerate(shown) if change.wall <= point[1]]
            screen = screens_[changes[-1]] if changes else []
            words, errors = words + len(spoken), errors + sum(edits(spoken, screen))
        found = prefix_errors(said, shown, points, clock)  # type: ignore[arg-type]
        assert (found.errors, found.words) == (errors, words)


def test_text_that_comes_at_once_has_no_prefix_errors_and_one_that_never_comes_has_all() -> None:
    said = [SpokenWord(word, number, number + 0.5) for number, word in enumerate("abc")]
    points = [(0.25 * k, 0.25 * k) for k in range(1, 13)]
    at_once = [DisplayUpdate(word.start, word.start, (word.text,)) for word in said]
    assert prefix_errors(said, at_once, points, "audio").rate == 0.0
    assert prefix_errors(said, [], points, "audio").rate == 1.0
    assert prefix_errors([], [], points, "audio").rate is None


def test_the_first_text_counts_from_the_first_word() -> None:
    said = [SpokenWord("one", 1.5, 2.0)]
    shown = [DisplayUpdate(1.0, 1.0), DisplayUpdate(2.0, 2.25, (), ("won",)), DisplayUpdate(3.0, 3.5, ("one",))]
    assert first_text(said, shown, "audio") == 0.5
    assert first_text(said, shown, "wall") == 0.75
    assert first_text([], shown, "audio") is None
    assert first_text(said, shown[:1], "audio") is None


def simuleval(delays: list[float], source: float, reference: int) -> float:
    """The loop of the published scorer, written after its description (LAAL: the longer of both texts)."""
    if delays[0] > source:
        return delays[0]
    total, counted = 0.0, 0
    gamma = max(len(delays), reference) / source
    for place, delay in enumerate(delays):
        total += delay - place / gamma
        counted = place + 1
        if delay >= source:
            break
    return total / counted


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 20.0), min_size=1, max_size=12).map(sorted),
    st.floats(0.5, 15.0),
    st.integers(1, 15),
)
def test_lagging_as_the_slow_twin_says(delays: list[float], source: float, reference: int) -> None:
    assert average_lagging(delays, source, reference) == pytest.approx(simuleval(delays, source, reference))


@pytest.mark.parametrize("words", [1, 4, 10])
def test_lagging_has_closed_forms(words: int) -> None:
    source = 10.0
    offline = [source] * words
    assert average_lagging(offline, source, words) == source  # all at the end: the whole source late
    step = source / words
    ideal = [place * step for place in range(words)]
    assert average_lagging(ideal, source, words) == pytest.approx(0.0)
    late = [place * step + 0.4 for place in range(words) if place * step + 0.4 < source]
    assert average_lagging(late, source, words) == pytest.approx(0.4)
    assert average_lagging([2 * source, *offline], source, words) == 2 * source
    assert average_lagging([], source, words) is None


def test_twice_as_many_words_as_were_said_do_not_make_it_early() -> None:
    """Lagging by the reference's length alone would be negative here (Papi et al. 2022)."""
    delays = [float(second) for second in range(1, 11)]
    assert average_lagging(delays, 10.0, 5) == pytest.approx(1.0)


def test_units_keep_the_times_of_their_word_and_drop_punctuation() -> None:
    units = Units(lambda text: text.lower().strip(".,!"))
    assert units.of(["Hello,", "!", "日本"]) == ["hello", "日", "本"]
    spoken = units.spoken([SpokenWord("-", 0.0, 0.1), SpokenWord("日本", 1.0, 2.0, sure=False)][1:])
    assert spoken == [SpokenWord("日", 1.0, 2.0, sure=False), SpokenWord("本", 1.0, 2.0, sure=False)]
    assert units.shown([DisplayUpdate(1.0, 2.0, ("A.",), ("b",))]) == [DisplayUpdate(1.0, 2.0, ("a",), ("b",))]


@settings(deadline=None)
@given(st.lists(st.floats(-5, 50), min_size=1, max_size=30))
def test_quantiles_are_numpys(values: list[float]) -> None:
    found = Quantiles.of(values)
    assert found is not None
    assert (found.p50, found.p95, found.p99) == tuple(np.quantile(values, [0.5, 0.95, 0.99]))
    assert Quantiles.of([]) is None


def test_pace_tells_a_growing_cost_from_a_flat_one() -> None:
    flat, growing = Pace.of([0.01, 0.03] * 100), Pace.of([0.01 * (1 + k / 100) for k in range(200)])
    assert flat is not None
    assert growing is not None
    assert flat.flatness == pytest.approx(1.0)
    assert len(growing.means) == 10
    assert growing.flatness == pytest.approx((1 + 189.5 / 100) / (1 + 9.5 / 100), rel=1e-4)
    short = Pace.of([0.5])
    assert short is not None
    assert short.flatness is None


def test_the_interval_of_a_quantile_takes_whole_speakers() -> None:
    slow, quick = [2.0] * 10, [1.0] * 10
    low, high = quantile_interval([slow, quick, quick, quick], 0.5) or (0, 0)
    assert (low, high) == (1.0, 2.0)
    assert quantile_interval([slow], 0.5) is None
    assert quantile_interval([slow, []], 0.5) is None


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-2, 9), max_size=6), min_size=2, max_size=5), st.sampled_from([0.0, 0.5, 0.95]))
def test_the_interval_as_the_slow_twin_draws_it(groups: list[list[float]], q: float) -> None:
    kept = [group for group in groups if group]
    found = quantile_interval(groups, q, resamples=40)
    if len(kept) < 2:
        assert found is None
        return
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(kept), len(kept)) for _ in range(40)]
    slow = [np.quantile(np.concatenate([kept[one] for one in draw]), q) for draw in draws]
    assert found == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_the_interval_of_a_difference_draws_the_same_speakers() -> None:
    one = [[1.0], [5.0], [9.0]]
    other = [[0.5], [4.5], [8.5]]
    assert quantile_interval(one, 0.5, others=other) == (0.5, 0.5)
