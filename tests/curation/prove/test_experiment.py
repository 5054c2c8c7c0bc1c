"""Runs of an experiment: what is run, kept, tried again, and what the table may claim."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnet.curation.prove.baselines import Pool
from linnet.curation.prove.experiment import LOG, Run, SetErrors, plan, prove
from linnet.curation.prove.options import METHODS, PoolFiles, ProveOptions, read_experiment
from linnet.curation.prove.results import caption, draw, lines, not_better, table
from linnet.data.manifest import Utterance, read_manifest
from linnet.errors import LinnetError, OptionError

ROWS = [Utterance(f"{number}.wav", text="one", duration=1.0 + number % 5) for number in range(60)]
SECONDS = np.array([row.duration for row in ROWS])
BAD = np.arange(60) % 3 == 0  # what the preset leaves out
POOL = Pool(SECONDS, tuple("ab"[number % 2] for number in range(60)), valid=~BAD, clean=~BAD)
SPEAKERS = tuple(f"s{number % 8}" for number in range(80))


class FakeLaboratory:
    """A model's errors grow with the share of bad rows it learned from."""

    def __init__(self) -> None:
        self.trained: list[Run] = []
        self.broken: set[str] = set()

    def select(self, pool: int, method: str, budget: float, seed: int) -> Sequence[int]:
        good = np.flatnonzero(~BAD)
        return good[np.cumsum(SECONDS[good]) <= budget].tolist()

    def train(self, manifest: Path, run: Run, folder: Path) -> Path:
        if run.method in self.broken:
            raise LinnetError("the training diverged")
        self.trained.append(run)
        return manifest

    def test(self, model: Path, name: str, folder: Path) -> SetErrors:
        rows = [int(Path(row.audio).stem) for row in read_manifest(model)]
        share = np.mean([BAD[row] for row in rows])
        random = np.random.default_rng(len(rows) + self.trained[-1].seed)
        errors = random.binomial(10, 0.05 + 0.6 * share, len(SPEAKERS))
        return SetErrors(SPEAKERS, tuple(int(one) for one in errors), (10,) * len(SPEAKERS))


def options(folder: Path, **changed) -> ProveOptions:
    made = ProveOptions(
        pools=(PoolFiles("pool.jsonl", clean="clean.jsonl"),),
        tests={"test": "test.jsonl"},
        recipe="recipe.yaml",
        output=str(folder / "prove"),
        seeds=4,
        draws=2,
        steps=10,
    )
    return replace(made, **changed)


def test_a_selection_names_recordings_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [Utterance("sub/0.wav", text="one"), Utterance("https://a.org/1.wav", text="two")]
    laboratory, pool = FakeLaboratory(), Pool(np.array([1.0, 1.0]))
    prove(options(Path(), methods=("full-steps",), against="full-steps", seeds=1), laboratory, lambda _: (rows, pool))
    (manifest,) = tmp_path.glob("prove/*/train.jsonl")
    assert [row.audio for row in read_manifest(manifest)] == [str(tmp_path / "sub/0.wav"), "https://a.org/1.wav"]


def read_pool(number: int):
    return ROWS, POOL


def test_every_method_is_run_for_every_seed_and_drawn_ones_more_than_once(tmp_path: Path) -> None:
    runs = list(plan(options(tmp_path)))
    assert {run.method for run in runs} == set(METHODS) - {"highest-error", "lowest-error"}
    assert len([run for run in runs if run.method == "random"]) == 4 * 2
    assert len([run for run in runs if run.method == "balanced"]) == 4
    assert {run.steps for run in runs if run.method != "full-epochs"} == {10}
    assert {run.steps for run in runs if run.method == "full-epochs"} == {50}


def test_an_experiment_finds_what_is_better_and_names_what_is_not(tmp_path: Path) -> None:
    asked = options(tmp_path)
    outcomes = prove(asked, FakeLaboratory(), read_pool)
    found = lines(outcomes, "balanced")
    verdicts = {one.method: one.verdict("balanced") for one in found}
    assert verdicts["random"] == verdicts["full-steps"] == "balanced is better"
    assert verdicts["oracle"] == verdicts["gate-only"] == "no difference from balanced shown"
    assert verdicts["balanced"] == ""
    assert any("gate-only" in sentence for sentence in not_better(found, "balanced"))
    assert not any("random" in sentence for sentence in not_better(found, "balanced"))
    assert "| small | test | 0.2 | random |" in table(found, "balanced", "small")
    draw(found, tmp_path / "picture.png", caption(outcomes, "small"))
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_the_mean_rate_is_errors_over_words(tmp_path: Path) -> None:
    outcomes = prove(options(tmp_path, methods=("random",)), FakeLaboratory(), read_pool)
    line = next(one for one in lines(outcomes, "balanced") if one.method == "random")
    for seed, rate in enumerate(line.rates):
        own = [one.tests["test"] for one in outcomes if one.run.method == "random" and one.run.seed == seed]
        assert rate == pytest.approx(np.mean([sum(test.errors) / sum(test.words) for test in own]))


def test_a_second_call_runs_only_what_is_not_there(tmp_path: Path) -> None:
    first, second = FakeLaboratory(), FakeLaboratory()
    first.broken = {"random"}
    said: list[str] = []
    partial = prove(options(tmp_path), first, read_pool, notify=said.append)
    assert sum("the training diverged" in one for one in said) == 8
    log = tmp_path / "prove" / LOG
    log.write_bytes(log.read_bytes() + b'{"run": {"po')  # as after kill -9
    whole = prove(options(tmp_path), second, read_pool)
    assert {run.method for run in second.trained} == {"random"}
    assert len(whole) == len(partial) + 8


def test_another_experiment_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    prove(options(tmp_path, seeds=1, methods=("random",)), FakeLaboratory(), read_pool)
    prove(options(tmp_path, seeds=2, methods=("random", "longest")), FakeLaboratory(), read_pool)
    with pytest.raises(OptionError, match=r"another experiment.*steps"):
        prove(options(tmp_path, steps=20), FakeLaboratory(), read_pool)


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    outcomes = prove(options(tmp_path, seeds=1), FakeLaboratory(), read_pool)
    assert {one.verdict("balanced") for one in lines(outcomes, "balanced")} == {"", "too few runs to tell"}


def test_a_caption_counts_runs_and_says_that_seeds_are_few(tmp_path: Path) -> None:
    asked = options(tmp_path, methods=("random", "full-epochs"), seeds=4)
    few = caption(prove(asked, FakeLaboratory(), read_pool), "small")
    assert few == "small: 16 runs of 10 or 50 steps, 1 pool, 4 seeds (few: only large differences can be shown)"
    enough = prove(replace(asked, methods=("random",), seeds=5), FakeLaboratory(), read_pool)
    assert caption(enough, "small") == "small: 15 runs of 10 steps, 1 pool, 5 seeds"


def test_an_unknown_method_or_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prove.yaml"
    path.write_text("pools: [{manifest: a}]\ntests: {t: b}\nrecipe: r\noutput: o\nmethods: [randon]\n")
    with pytest.raises(OptionError, match="randon"):
        read_experiment(path)
    path.write_text("pools: [{manifest: a}]\ntests: {t: b}\nrecipe: r\noutput: o\nbudget: [0.2]\n")
    with pytest.raises(OptionError, match="budgets"):
        read_experiment(path)
