"""From shards to scores: the same from any sharding, without length in them, and nothing lost on bad rows."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from linnet.curation.blocks import find_shards
from linnet.curation.components import COMPONENTS, EstimatorOptions, Statistics
from linnet.curation.scores import Scoring, whole, write_scores
from linnet.errors import OptionError
from tests.curation.shards import write_pool


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool")
    write_pool(path, 400)
    return path


@pytest.fixture(scope="module")
def scores(folder):
    scoring = Scoring(folder)
    return scoring.run(*scoring.survey())


def backwards(function, tasks):
    """As many processes would do it: another order, and all that goes in or comes out pickled."""
    done = [pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(task))))) for task in reversed(tasks)]
    return reversed(done)


def test_scores_are_the_same_from_any_sharding(scores, tmp_path):
    write_pool(tmp_path, 400, per_shard=90)
    scoring = Scoring(tmp_path, mapper=backwards)
    other = scoring.run(*scoring.survey())
    for name, values in scores.columns().items():
        assert np.array_equal(values, other.columns()[name], equal_nan=True), name
    assert not list(tmp_path.glob("statistics*"))


def test_there_is_no_length_in_them(scores):
    seconds = scores.raw["seconds"]
    assert abs(spearmanr(scores.raw["h_acoustic"], seconds).statistic) > 0.3
    for name in COMPONENTS:
        assert np.isfinite(scores.ranks[name]).all(), name
        assert abs(spearmanr(scores.ranks[name], seconds).statistic) < 0.1, name


def test_the_match_is_the_mean_of_both_ways(scores):
    both = (scores.raw["mi"] + scores.raw["mi_tokens"]) / 2
    assert np.array_equal(scores.raw["match"], both)
    assert scores.columns()["match_raw"].dtype == np.float32


def test_written_scores_are_those_of_the_shards(scores, folder):
    shards = find_shards(folder)
    write_scores(folder, shards, scores.columns())
    assert [pq.read_metadata(path).num_rows for path in sorted(folder.glob("scores-*"))] == [s.rows for s in shards]
    table = pq.read_table(sorted(folder.glob("scores-*"))[-1])
    assert table["row"].to_numpy()[-1] == 399
    assert table["mi"].to_numpy()[-1] == np.float32(scores.ranks["mi"][-1])
    assert table["mi_raw"].to_numpy()[-1] == np.float32(scores.raw["mi"][-1])


def test_a_round_scores_what_is_left_by_what_is_left(folder, scores):
    scoring = Scoring(folder)
    shards, space = scoring.survey()
    kept = np.arange(400) % 3 != 0
    some = scoring.run(shards, space, kept, scores.scale)
    assert some.raw["row"].tolist() == np.flatnonzero(kept).tolist()
    more = some.raw["novelty"] - scores.raw["novelty"][kept]
    assert more.mean() > 0.05  # fewer others to expect it from
    columns = whole(some.columns(), some.raw["row"], 400)
    assert np.isnan(columns["novelty"][0])
    assert columns["novelty"][1] == np.float32(some.ranks["novelty"][0])
    with pytest.raises(OptionError, match="5 rows does not fit the 400 rows"):
        scoring.run(shards, space, np.ones(5, bool))


def test_bad_rows_have_no_scores_and_spoil_none(tmp_path):
    rows = 230
    write_pool(
        tmp_path,
        rows,
        units=[[] if at == 0 else [1, 2] * 10 for at in range(rows)],
        runs=[[] if at == 0 else [2] * 20 for at in range(rows)],
        words=[[] if at == 1 else [7] * 10_000 if at == 2 else [3, 4, at] for at in range(rows)],
        phones=[[] if at == 1 else [1] * 30_000 if at == 2 else [3, 4, 5] for at in range(rows)],
        duration=[None if at == 3 else float("nan") if at == 4 else 3.0 for at in range(rows)],
        language=[None if at == 5 else "xx" if at < 9 else "en" for at in range(rows)],
        source=[None] * rows,
    )
    scoring = Scoring(tmp_path)
    shards, space = scoring.survey()
    assert space.languages == ("en", "und", "xx")
    assert space.domains[0] == "topic 1"
    scores = scoring.run(shards, space)
    assert np.isnan(scores.ranks["h_acoustic"]).tolist() == [True] + [False] * (rows - 1)
    assert np.isnan(scores.ranks["s_linguistic"]).tolist() == [False, True] + [False] * (rows - 2)
    assert np.isnan(scores.ranks["mi"]).tolist() == [True, True] + [False] * (rows - 2)
    for name in COMPONENTS:
        known = scores.ranks[name][np.isfinite(scores.ranks[name])]
        assert np.all((known > 0) & (known < 1)), name


def test_the_paper_s_own_forms_measure_length(folder):
    scoring = Scoring(folder, EstimatorOptions(estimators="paper"))
    scores = scoring.run(*scoring.survey())
    seconds = scores.raw["seconds"]
    assert spearmanr(scores.ranks["h_linguistic"], seconds).statistic > 0.7
    assert scores.raw["h_acoustic"][seconds > 4].min() > 5.9  # whatever is heard: 64 bins, equally full
    for name in COMPONENTS:
        assert np.nanmin(scores.ranks[name]) == 0.0
        assert np.nanmax(scores.ranks[name]) == 1.0


def test_information_of_all_rows_by_the_paper_s_form_is_that_of_the_corpus(folder):
    scoring = Scoring(folder, EstimatorOptions(estimators="paper", tokens="words"))
    scores = scoring.run(*scoring.survey())
    other = Scoring(folder, EstimatorOptions(information="rarity"))
    rarity = other.run(*other.survey()).raw["mi"]
    assert scores.raw["mi"].mean() > 1.0
    assert spearmanr(rarity, scores.raw["mi"]).statistic < 0.7


def test_statistics_come_back_from_their_file(folder, tmp_path):
    scoring = Scoring(folder)
    shards, space = scoring.survey()
    from linnet.curation.scores import Task, count

    found = count(Task(shards, space, scoring.options))
    path = found.save(tmp_path)
    assert Statistics.load(path).save(tmp_path) == path


@pytest.mark.parametrize(
    ("key", "value"), [("acoustic", "rarified"), ("tokens", "letters"), ("estimators", "theirs"), ("rarefied_to", 0)]
)
def test_options_that_do_not_exist(key, value):
    with pytest.raises(OptionError, match=key):
        EstimatorOptions(**{key: value})


def test_a_folder_without_passes(tmp_path):
    with pytest.raises(OptionError, match="run the audio pass first"):
        find_shards(tmp_path)
    write_pool(tmp_path, 10)
    (tmp_path / "spoken-00000.parquet").unlink()
    with pytest.raises(OptionError, match="run the text pass"):
        find_shards(tmp_path)
