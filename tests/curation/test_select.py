"""The choice holds its hours, floors and caps, is the same again, and gives every recording a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linnet.curation.budget import BudgetOptions, StratumOptions
from linnet.curation.gates import GateOptions
from linnet.curation.items import CoverageOptions, coverage_items, word_units
from linnet.curation.select import SelectOptions, ValueOptions, hashed_order, select, select_by_score, values
from linnet.curation.selection import read_selection
from linnet.errors import OptionError
from linnet.settings import build
from tests.support.pools import objects, pool_of, random_pool

POOL = random_pool(800)
HOURS = POOL.seconds.sum() / 3600


def chosen(pool: Any = POOL, **budget: Any) -> Any:
    return select(pool, SelectOptions(budget=BudgetOptions(**budget)))


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5])
def test_the_hours_are_those_asked_for(keep: float) -> None:
    shortest = POOL.seconds.min() / 3600  # less than it cannot be filled
    assert 0 <= keep * HOURS - chosen(keep=keep).hours <= max(0.005 * keep * HOURS, shortest)


def test_the_same_again_and_each_has_a_reason() -> None:
    first, second = chosen(), chosen()
    assert np.array_equal(first.kept, second.kept)
    assert np.array_equal(first.ranks, second.ranks)
    assert (first.fates.codes >= 0).all()
    assert all(reason for reason in first.reasons)
    assert sum(rows for rows, _ in first.by_fate().values()) == len(POOL)
    assert sorted(first.ranks[first.kept]) == list(range(int(first.kept.sum())))


def test_one_speaker_with_most_of_it_gets_less_than_its_share() -> None:
    before = POOL.speakers.sums(POOL.seconds)[0] / POOL.seconds.sum()
    found = chosen(speaker=StratumOptions(cap_share=0.2))
    spoken = {name: kept for name, (_, _, kept) in found.by_stratum("speaker").items()}
    assert before > 0.5
    assert spoken["s0"] <= 0.2 * 0.2 * HOURS * 1.0001
    assert found.by_fate()["cap-speaker"][0] > 50
    assert found.hours == pytest.approx(0.2 * HOURS, rel=0.005)


def test_floors_hold_and_one_that_cannot_is_told() -> None:
    found = chosen(keep=0.2, speaker=StratumOptions(floor_hours=0.006))
    assert all(row[2] >= 0.006 for row in found.by_stratum("speaker").values())
    assert found.by_fate()["floor"][0] > 5
    found = chosen(keep=0.1, speaker=StratumOptions(floor_share=0.3))
    assert found.hours == pytest.approx(0.1 * HOURS, rel=0.005)
    assert any("floor of the speaker" in one for one in found.notices)


def test_small_languages_get_more_than_their_share() -> None:
    shares = []
    for temperature in (1.0, 3.0):
        table = chosen(temperature=temperature).by_stratum("language")
        shares.append(table["de"][2] / (table["de"][2] + table["en"][2]))
    assert shares[0] == pytest.approx(0.1, abs=0.03)
    assert shares[1] > 1.5 * shares[0]


def test_more_hours_than_there_are() -> None:
    found = chosen(hours=1000.0)
    assert np.array_equal(found.kept, found.weights > 0)
    assert "usable, less than the budget of 1000.00" in found.notices[0]


def test_the_same_text_is_capped() -> None:
    text = "one two three four five six"
    pool = pool_of([text] * 80, units=[[at % 7, at % 5, 1] for at in range(80)])
    found = select(pool, SelectOptions(budget=BudgetOptions(keep=1.0, same_text=5)))
    assert found.kept.sum() == 5
    assert found.by_fate()["cap-text"][0] == 75
    assert "caps" in found.notices[0]


def test_a_threshold_on_scores_is_a_selection(tmp_path: Path) -> None:
    score = np.array([0.2, 0.9, 0.6, np.nan, 0.7])
    pool = pool_of(["one"] * 5, errors=[None, None, None, None, "gone.wav: no such file"])
    found = select_by_score(pool, score, score > 0.5)
    assert found.kept.tolist() == [False, True, True, False, False]
    assert found.ranks.tolist() == [-1, 0, 1, -1, -1]
    assert [found.fates[row] for row in range(5)] == ["threshold", "score", "score", "threshold", "unreadable"]
    assert found.weights == pytest.approx([0.2 / 0.6, 1, 1, 0, 0], abs=1e-6)
    assert found.priorities[:3] == pytest.approx([0.2, 0.9, 0.6])
    found.write(tmp_path)
    assert "not above the threshold" in read_selection(tmp_path).reasons[0]


def test_a_part_is_rescued_by_hash() -> None:
    options = SelectOptions(rescue=0.25, budget=BudgetOptions(keep=0.2))
    found = select(POOL, options)
    hours = found.by_fate()["rescue"][1]
    assert hours == pytest.approx(0.25 * 0.2 * HOURS, rel=0.1)
    other = select(POOL, replace(options, seed=1))
    assert not np.array_equal(found.kept, other.kept)
    ids = objects(["a", "b", "c", "d"])
    assert hashed_order(ids, np.arange(4), 0).tolist() == hashed_order(ids, np.array([3, 1, 0, 2]), 0).tolist()


def test_nothing_usable() -> None:
    pool = pool_of([None, "", "one"], errors=[None, None, "c.wav: no such file"])
    found = select(pool)
    assert not found.kept.any()
    assert found.reasons[2] == "not usable: c.wav: no such file"
    assert select(pool_of([])).hours == 0.0


def test_nan_lengths_and_duplicate_ids_do_not_stop_it() -> None:
    pool = pool_of(["one two"] * 4, duration=[np.nan, 1.0, -2.0, np.inf], ids=["a", "a", "b", "c"])
    found = select(pool, SelectOptions(budget=BudgetOptions(keep=1.0), rescue=0.0))
    assert found.kept.tolist() == [False, True, False, False]
    assert "nan" in found.reasons[0]


def test_values_are_means_of_what_is_there() -> None:
    pool = pool_of(["one"] * 3, scores={"novelty": [0.2, np.nan, 1.0], "h_phonetic": [0.6, np.nan, np.nan]})
    found, names = values(pool, ValueOptions(weights={"novelty": 1.0, "h_phonetic": 3.0, "missing": 1.0}))
    assert found == pytest.approx([0.5, 0.5, 1.0])
    assert names == ("novelty", "h_phonetic")


def test_valued_recordings_come_first_where_nothing_else_differs() -> None:
    score = np.linspace(0, 1, 40)
    pool = pool_of(["one"] * 40, units=[[1, 2]] * 40, phones=[[1, 2]] * 40, scores={"novelty": score})
    budget = BudgetOptions(keep=0.5)
    found = select(pool, SelectOptions(budget=budget, rescue=0.0, value=ValueOptions({"novelty": 1.0}, strength=1.0)))
    assert np.flatnonzero(found.kept).tolist() == list(range(20, 40))
    assert found.weights[:20] == pytest.approx(np.sort(found.weights[:20]))
    assert (found.weights[20:] == 1).all()


def test_items_are_each_once_and_weigh_by_family() -> None:
    pool = pool_of(["one one two", "two", "one"], speaker=["a", "b", None])
    usable = np.array([True, True, False])
    items = coverage_items(
        pool, usable, CoverageOptions(words=1.0, word_pairs=0, word_units=0, phone_pairs=0, unit_pairs=0)
    )
    assert items.rows.lengths.tolist() == [3, 2, 0]  # two words and a voice, one and a voice
    totals = items.weights[items.rows.values].sum()
    assert totals == pytest.approx(2 * (1.0 + 0.25))


def test_units_belong_to_the_word_said_about_then() -> None:
    pool = pool_of(["one two", "", "three"], units=[[5, 6, 7, 8], [1, 2], [9]])
    pairs = [(int(value) >> 16, int(value) & 0xFFFF) for value in word_units(pool).values]
    assert pairs == [(0, 5), (0, 6), (1, 7), (1, 8), (2, 9)]
    assert word_units(pool).lengths.tolist() == [4, 0, 1]


def test_a_selection_is_read_back(tmp_path: Path) -> None:
    found = chosen()
    found.write(tmp_path)
    back = read_selection(tmp_path)
    assert back.summary() == found.summary()
    assert back.by_stratum("speaker") == found.by_stratum("speaker")
    assert np.array_equal(back.ranks, found.ranks)
    assert set(back.checks) == set(found.checks)
    with pytest.raises(OptionError, match=r"no selection\.parquet"):
        read_selection(tmp_path / "none")


def test_starved_groups_are_named() -> None:
    found = chosen(temperature=1.0, language=StratumOptions())
    assert found.starved("language", 0.5) == {}
    speaker = chosen(speaker=StratumOptions(cap_share=0.1)).starved("speaker", 0.5)
    assert list(speaker) == ["s0"]
    assert speaker["s0"] == pytest.approx(0.1 * HOURS / (POOL.speakers.sums(POOL.seconds)[0] / 3600), rel=0.02)


def test_options_come_from_plain_values() -> None:
    options = build(SelectOptions, {"budget": {"keep": 0.1, "speaker": {"cap_share": 0.3}}, "gates": {}}, "recipe")
    assert options.budget.speaker.cap_share == 0.3
    assert options.gates == GateOptions()
    with pytest.raises(OptionError, match="did you mean 'coverage'"):
        build(SelectOptions, {"coverag": {}}, "recipe")
