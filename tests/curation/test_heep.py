"""HEEP's score, thresholds and rounds, against the equations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("pyarrow")
from linnet.curation.errors import ErrorRates, HeldOutRow, SpokenText
from linnet.curation.heep import HeepOptions, HeepWeights, cut, first_threshold, heep_score
from linnet.curation.rounds import HeepScorer, RoundFolder, next_round, run_rounds
from linnet.curation.scores import Scoring
from linnet.errors import OptionError
from tests.curation.shards import write_pool

RNG = np.random.default_rng(0)
SCORES, SECONDS = RNG.uniform(0, 1, 5000), RNG.uniform(1, 20, 5000)


def static(kept, errors):
    return np.where(kept, SCORES, np.nan)


def test_the_score_is_equation_1():
    names = ("h_acoustic", "h_phonetic", "h_linguistic", "h_contextual", "mi")
    ranks = {name: RNG.uniform(0, 1, 20) for name in names}
    expected = sum(w * ranks[name] for w, name in zip((0.25, 0.2, 0.25, 0.15, 0.15), names, strict=True))
    assert heep_score(ranks) == pytest.approx(expected)
    more = ranks | {"error_relevance": np.full(20, 0.5), "cross_lingual": np.full(20, np.nan)}
    assert heep_score(more) == pytest.approx(expected + 0.3 * 0.5)
    without = ranks | {"h_contextual": np.full(20, np.nan)}
    assert heep_score(without) == pytest.approx((expected - 0.15 * ranks["h_contextual"]) / 0.85)


def test_static_scores_make_all_rounds_one_cut():
    rounds = list(run_rounds(static, SECONDS, HeepOptions(min_samples=10, min_share=0.0)))
    assert len(rounds) == 10
    assert rounds[-1].threshold == pytest.approx(0.3 * 1.1**9)
    assert np.array_equal(rounds[-1].kept, SCORES > 0.3 * 1.1**9)
    assert rounds[3].seconds == pytest.approx(SECONDS[rounds[3].kept].sum())


def test_a_first_threshold_is_found_for_a_share_of_the_hours():
    options = HeepOptions(tau_0=None, keep=0.25, max_rounds=6, min_samples=1, min_share=0.0)
    rounds = list(run_rounds(static, SECONDS, options))
    assert rounds[-1].seconds / SECONDS.sum() == pytest.approx(0.25, abs=0.002)
    assert first_threshold(np.array([np.nan]), np.ones(1), options) == 0.0


def test_a_keep_schedule_leaves_the_same_share_of_each_round():
    options = HeepOptions(schedule="keep", keep=0.2, max_rounds=4, min_samples=1, min_share=0.0)
    rounds = list(run_rounds(static, SECONDS, options))
    shares = [one.seconds / SECONDS.sum() for one in rounds]
    assert shares == pytest.approx([0.2 ** (k / 4) for k in range(1, 5)], abs=0.002)
    changing = iter(range(4))  # whatever the scores of a round are

    def rescore(kept, errors):
        return np.where(kept, np.random.default_rng(next(changing)).normal(-5, 1, 5000), np.nan)

    assert [one.seconds / SECONDS.sum() for one in run_rounds(rescore, SECONDS, options)] == pytest.approx(
        shares, abs=0.002
    )


def test_a_small_corpus_is_cut_too():
    assert HeepOptions(keep=0.2).floor(200) == 40
    assert HeepOptions(keep=0.2, min_share=0.5).floor(200) == 100
    assert HeepOptions(keep=0.2).floor(100_000) == 10_000  # by min_share
    assert HeepOptions(keep=0.2, min_share=0.0).floor(100_000) == 1000


def test_a_round_never_leaves_less_than_the_floor():
    rounds = list(run_rounds(static, SECONDS, HeepOptions(growth=2.0, min_samples=700)))
    assert [one.at_floor for one in rounds] == [False, False, True]
    assert rounds[-1].rows == 700
    assert SCORES[rounds[-1].kept].min() >= np.sort(SCORES)[-700]
    tied = cut(np.array([0.1, np.nan, 0.5, 0.1, 0.1]), np.ones(5, bool), 0.9, 3)
    assert tied.kept.tolist() == [True, False, True, True, False]
    assert tied.at_floor
    few = next_round(None, lambda kept, errors: np.array([0.1, 0.2]), np.ones(2), HeepOptions(min_share=1.0))
    assert few.rows == 2  # fewer than the floor to begin with


def test_training_and_evaluating_come_between_rounds():
    calls = []

    def evaluate(done):
        calls.append(("evaluate", done.number))
        return f"errors {done.number}"

    def rescore(kept, errors):
        calls.append(("score", errors))
        return static(kept, errors)

    options = HeepOptions(max_rounds=3, min_samples=1, min_share=0.0)
    rounds = run_rounds(rescore, SECONDS, options, lambda done: calls.append(("train", done.number)), evaluate)
    assert [one.number for one in rounds] == [0, 1, 2]
    assert calls == [
        ("score", None), ("train", 0), ("evaluate", 0), ("score", "errors 0"),
        ("train", 1), ("evaluate", 1), ("score", "errors 1"),
    ]  # fmt: skip


def test_a_folder_makes_the_same_rounds(tmp_path):
    options = HeepOptions(max_rounds=3, min_samples=1, min_share=0.0)
    folder = RoundFolder(tmp_path / "rounds", "digest", options)
    assert folder.last() is None
    for expected in run_rounds(static, SECONDS, options):
        done = folder.advance(static, SECONDS)
        read = folder.last()
        for one in (done, read):
            assert (one.number, one.threshold, one.rows) == (expected.number, expected.threshold, expected.rows)
            assert np.array_equal(one.kept, expected.kept)
        assert "hours above" in read.line
    with pytest.raises(OptionError, match="max_rounds is 3"):
        folder.advance(static, SECONDS)
    with pytest.raises(OptionError, match="another corpus"):
        RoundFolder(tmp_path / "rounds", "another", options).last()
    (tmp_path / "rounds" / "round-02.json").write_text("{")
    with pytest.raises(OptionError, match=r"round-02\.json: cannot be read"):
        folder.last()


def test_rounds_look_at_what_is_left_and_at_the_errors(tmp_path):
    write_pool(tmp_path, 200, per_shard=150)
    scoring = Scoring(tmp_path)
    shards, space = scoring.survey()
    words = [str(number) for number in range(1080)]

    rows = [HeldOutRow(f"{word} 0 1", f"{'x' if word == '7' else word} 0 1", "en") for word in words[:12]] * 5
    read_heard = {"x": 5000}

    def reader(text, language):
        return SpokenText(text.split(), [read_heard.get(word) or int(word) for word in text.split()])

    errors = ErrorRates.of(rows, reader)
    phones = {voice: Counter("aab" if voice[0] == "en" else "abc") for voice in space.voices}
    scorer = HeepScorer(scoring, shards, space, phones=phones, known=["en"])
    everything = np.ones(200, bool)
    before = scorer(everything, None)
    assert scorer.columns["cross_lingual"].max() == 1.0
    assert "error_relevance" not in scorer.columns
    after = scorer(everything, errors)
    gain = after - before
    has_seven = scorer.columns["error_relevance_raw"] > 0
    assert 10 < has_seven.sum() < 190
    assert gain[has_seven].min() > gain[~has_seven].max()
    half = scorer(np.arange(200) < 100, None)
    assert np.isnan(half[100:]).all()
    assert not np.allclose(half[:100], before[:100])  # by what is left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growth": 0.9}, "keeps all"),
        ({"tau_0": 0.0}, "tau_0"),
        ({"min_share": 2.0}, "min_share"),
        ({"max_rounds": 0}, "max_rounds"),
        ({"schedule": "keeps"}, "keep"),
    ],
)
def test_options_that_cannot_be_honored(options, message):
    with pytest.raises(OptionError, match=message):
        HeepOptions(**options)


def test_weights_that_weigh_nothing():
    with pytest.raises(OptionError, match="all weights"):
        HeepWeights(0, 0, 0, 0, 0)
