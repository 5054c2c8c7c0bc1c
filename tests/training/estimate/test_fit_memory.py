"""Fitting memory: on made-up measurements against closed forms, and by the real command and processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest

from linnet.data.batching import Binning, Bins, Cost, Peak, Shape, fit_bins
from linnet.errors import LinnetError, OptionError
from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.estimate.fit_memory import fit_memory, fit_steps, probe_shapes
from linnet.training.estimate.memory_profile import Moments
from linnet.training.estimate.probing import Probing
from linnet.training.recipe import read_recipe
from linnet.training.speech.inputs import Inputs
from linnet.training.speech.model import outline
from linnet.training.speech.recipe import Batching, SpeechRecipe
from linnet.training.speech.run import plan
from tests.support.forked import run_linnet
from tests.support.tiny_recipes import fusion_recipe, save_bases, tone_corpus, write_recipe

HELD = 40_000_000
STEP = {  # what each moment of a step takes, as one utterance or several do
    "encoder": Cost(per_second=9e5, per_square_second=3e3, fixed=HELD),
    "language model": Cost(per_second=1e5, per_token=2e5, per_utterance=3e5, fixed=HELD + 5e6),
    "optimizer": Cost(per_second=0.0, fixed=HELD + 12e6),
}
BINS = Bins(np.linspace(2, 30, 12), np.linspace(8, 240, 12).astype(np.int64))
BUDGET = 4_000_000_000


class Measured:
    """Stands for processes that measure: they have these moments, and no room for more than `room` bytes."""

    held = HELD

    def __init__(self, room: float = BUDGET) -> None:
        self.room, self.asked = room, list[Shape]()

    def moments(self, shape: Shape) -> Moments | None:
        self.asked.append(shape)
        made = {name: int(cost.of(*shape)) for name, cost in STEP.items()}
        return None if max(made.values()) > self.room else made


class Long:
    """Stands for a model that takes 300 places: ten a second, and one for each token."""

    def misfit(self, seconds: float, labels: int) -> str | None:
        return "too long" if 10 * seconds + labels > 300 else None


def fitted(measured: Measured, budget: int = BUDGET) -> tuple[Any, list[str]]:
    said: list[str] = []
    shapes = [(seconds, tokens) for seconds, tokens in BINS.probes(8)]
    return fit_steps(cast("Probing", measured), shapes, budget, said.append), said


def test_eight_shapes_tell_what_others_take_and_no_bin_is_over_the_budget() -> None:
    measured = Measured()
    fit, _ = fitted(measured)
    truth = Peak(tuple(STEP.values()))
    random = np.random.default_rng(0)
    others = [(int(random.integers(1, 80)), random.uniform(2, 30), int(random.integers(8, 240))) for _ in range(30)]
    assert np.abs(fit.cost.errors(others, [float(truth.of(*shape)) for shape in others])).max() < 1e-6
    sizes = fit.cost.most(BINS.seconds, BINS.tokens, BUDGET)
    assert np.abs(sizes - truth.most(BINS.seconds, BINS.tokens, BUDGET)).max() <= 1
    assert truth.of(sizes, BINS.seconds, BINS.tokens).max() <= BUDGET * 1.000001
    assert len({shape[1:] for shape in measured.asked}) == 8
    assert max(float(truth.of(*shape)) for shape in measured.asked) < BUDGET / 2  # grown, not run into the limit


def test_a_step_that_finds_no_room_is_halved_and_that_is_said() -> None:
    measured = Measured(room=HELD + 75e6)
    fit, said = fitted(measured)
    assert any("trying half as many" in line for line in said)
    assert max(fit.measured) <= HELD + 75e6
    assert fit.cost.errors(fit.shapes, fit.measured) == pytest.approx(0, abs=1e-6)


def test_weights_over_the_budget_and_an_utterance_that_never_fits() -> None:
    with pytest.raises(OptionError, match=r"alone take 40.0 MB of 30.0 MB"):
        fitted(Measured(), budget=30_000_000)
    with pytest.raises(OptionError, match=r"1 utterance of 2.00 s and 240 tokens takes 93.5 MB, of 80.0 MB"):
        fitted(Measured(), budget=80_000_000)
    with pytest.raises(OptionError, match="does not fit into memory"):
        fitted(Measured(room=HELD))


def test_shapes_are_spread_where_a_corpus_has_few_and_texts_are_cut_to_what_the_model_takes() -> None:
    alike = fit_bins(np.float32([5.0] * 9), np.int32([1] * 9))
    shapes = probe_shapes(alike, cast("Inputs", Long()))
    assert len({seconds for seconds, _ in shapes}) > 2
    assert len({tokens for _, tokens in shapes}) > 1
    assert max(shapes) <= (5.0, 4)
    assert max(10 * seconds + tokens for seconds, tokens in probe_shapes(BINS, cast("Inputs", Long()))) <= 300.0 + 1


# --- processes


def recipe_of(folder: Path, **changes: dict[str, Any]) -> Path:
    content = fusion_recipe(save_bases(folder), tone_corpus(folder / "corpus", 12), folder / "out", **changes)
    return write_recipe(folder / "recipe.yaml", content)


def test_the_command_measures_keeps_and_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(tmp_path, data={"batching": {"memory": "8MB", "groups": 2}})
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = run_linnet("train", "fit-memory", recipe, "--memory", "8MB", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "fitted to" in done.stderr
    assert found["budget"] == 8_000_000
    assert all(row["batch"] >= 1 and row["predicted"] <= 8e6 for row in found["bins"])
    assert len({tuple(probe["shape"][1:]) for probe in found["probes"]}) == 8
    assert all(check["measured"] > found["held"] for check in found["checks"])
    assert Path(found["kept"]).is_file()
    asked = read_recipe(recipe)
    assert isinstance(asked, SpeechRecipe)
    largest = max(row["predicted"] for row in found["bins"])
    assert f"at most {largest / 1e6:.1f} MB, by measurement" in dict(dry_run(asked))["memory of a step"]
    planned = plan(asked, outline(asked), RunContext())
    assert isinstance(planned.binning, Binning)
    assert planned.binning.sizes.tolist() == [row["batch"] for row in found["bins"]]


def test_the_cache_is_taken_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    recipe = read_recipe(recipe_of(tmp_path))
    assert isinstance(recipe, SpeechRecipe)
    started: list[int] = []

    class Fake(Measured):
        free = BUDGET

        def __init__(self, *_: Any) -> None:
            super().__init__()
            started.append(1)

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing was started."""

    monkeypatch.setattr("linnet.training.estimate.fit_memory.Probing", Fake)
    first = fit_memory(recipe, memory="1GB")
    assert len(started) == 1
    assert first.checks
    again = fit_memory(recipe, memory="500MB")
    assert (len(started), again.checks, again.fit) == (1, (), first.fit)
    assert all(other <= size for other, size in zip(again.sizes, first.sizes, strict=True))
    assert fit_memory(recipe, memory="1GB", force=True).fit == first.fit
    assert len(started) == 2
    Path(first.kept).write_text("{")
    with pytest.raises(OptionError, match="remove it, or use --force"):
        fit_memory(recipe, memory="1GB")


def test_what_is_not_there_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    recipe = read_recipe(recipe_of(tmp_path))
    assert isinstance(recipe, SpeechRecipe)
    for changed, says in [
        (replace(recipe, run=replace(recipe.run, device="cuda")), "device cuda was requested, but"),
        (replace(recipe, data=replace(recipe.data, train=())), "`train` names no source"),
        (replace(recipe, model=replace(recipe.model, encoder=str(tmp_path / "none"))), "none"),
        (replace(recipe, data=replace(recipe.data, batching=Batching(packed=True))), "packed"),
    ]:
        with pytest.raises(LinnetError, match=says):
            fit_memory(changed, memory="1GB")
    with pytest.raises(OptionError, match="invalid amount of memory"):
        fit_memory(recipe, memory="lots")


def test_a_process_that_ends_at_once_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(recipe_of(tmp_path))
    assert isinstance(recipe, SpeechRecipe)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    probing = Probing(recipe, 1, str)
    with pytest.raises(LinnetError, match="ended before its first step: exit status 1"):
        probing.__enter__()
    assert list(tmp_path.glob("linnet-probe-*")) == []


def test_a_killed_process_is_started_again_and_an_interrupt_leaves_none(tmp_path: Path) -> None:
    recipe = read_recipe(recipe_of(tmp_path))
    assert isinstance(recipe, SpeechRecipe)
    said: list[str] = []
    begun: list[psutil.Process] = []
    before = psutil.Process().children(recursive=True)
    with pytest.raises(KeyboardInterrupt):
        _kill_and_interrupt(recipe, said, begun)
    begun = [process for process in begun if process not in before]
    assert begun
    _, alive = psutil.wait_procs(begun, timeout=20)
    assert not alive


def _kill_and_interrupt(recipe: SpeechRecipe, said: list[str], begun: list[psutil.Process]) -> None:
    with Probing(recipe, 2, said.append) as probing:
        begun += psutil.Process().children(recursive=True)
        made = probing.moments((2, 0.4, 3))
        assert made is not None
        assert max(made.values()) > probing.held > 0
        worker = next(child for child in begun if child.ppid() != os.getpid())  # torchrun's, not torchrun itself
        os.kill(worker.pid, signal.SIGKILL)
        assert probing.moments((9, 0.4, 3)) is None
        assert said[-1].startswith("a step of 9 utterances of 0.40 s and 3 tokens ended its process")
        probing.processes = 1  # one starts sooner than two
        assert probing.moments((2, 0.4, 3)) is not None
        begun += psutil.Process().children(recursive=True)
        raise KeyboardInterrupt
