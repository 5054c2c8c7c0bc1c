"""What the rows of a run say beside its loss, and that TensorBoard is told the same."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linnet.training.batch import Batch
from linnet.training.loop import run_recipe, train
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from linnet.training.tracking import numbers
from tests.support.event_files import scalars
from tests.support.tiny_recipes import fusion_recipe, save_bases, speech_recipe, tone_corpus

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def recipe(tmp_path: Path) -> SpeechRecipe:
    changes: dict[str, Any] = {"optimization": {"accumulate": 2}, "run": {"log_every": 2, "checkpoint_every": 2}}
    content = fusion_recipe(save_bases(tmp_path), tone_corpus(tmp_path / "corpus"), tmp_path / "out", **changes)
    return speech_recipe(tmp_path / "recipe.yaml", content)


def test_tensorboard_has_what_the_log_has_once_each_step_after_a_break(recipe: SpeechRecipe, tmp_path: Path) -> None:
    recipe = replace(recipe, run=replace(recipe.run, log_every=1))
    for row in run_recipe(recipe):
        if row["step"] == 5:
            break
    list(run_recipe(recipe))
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6]
    files = sorted((tmp_path / "out" / "tensorboard").iterdir(), key=lambda file: file.name.rsplit(".", 1)[-1])
    assert [file.name.rsplit(".", 1)[-1] for file in files] == ["0", "4"]
    told = [(row["step"], name) for row in log for name in numbers(row)]
    assert scalars(files[0])[-1][0] == 5
    purged = [found for found in scalars(files[0]) if found[0] < 5]  # as TensorBoard does: the second begins with 5
    assert [(step, name) for step, name, _ in [*purged, *scalars(files[1])]] == told
    losses = {step: value for step, name, value in scalars(files[1]) if name == "loss"}
    assert losses == {row["step"]: pytest.approx(row["loss"], rel=1e-6) for row in log[4:]}


def test_the_shares_of_time_and_budget(recipe: SpeechRecipe) -> None:
    trainer, data, _ = prepare(recipe, load_task(recipe))
    used: list[float] = []
    utterances: list[int] = []
    read, update = type(data).__getitem__, trainer.update

    class Slow(type(data)):  # type: ignore[misc]
        def __getitem__(self, rows: Any) -> Batch:
            time.sleep(0.05)
            batch = read(self, rows)
            lengths = self.corpus.lengths
            longest = max(float(lengths.durations[row]) for row in rows)
            used.append(len(rows) * (longest + 0.08 * max(int(lengths.tokens[row]) for row in rows)) / 5.0)
            utterances.append(len(rows))
            return batch

    data.__class__ = Slow
    begun: list[float] = []

    def timed(window: Any) -> Any:
        start = time.monotonic()
        step = update(window)
        begun.append(time.monotonic() - start)
        return step

    trainer.update = timed  # type: ignore[method-assign]
    rows = list(train(trainer, data))
    for number, row in enumerate(rows):
        taken = slice(4 * number, 4 * number + 4)  # two steps of two batches
        assert row["budget_used"] == pytest.approx(sum(used[taken]) / 4)
        assert 0 < row["budget_used"] <= 1
        worked = sum(begun[2 * number : 2 * number + 2])
        span = sum(utterances[taken]) / row["utterances_per_second"]
        assert span >= worked + 0.2
        assert 0.2 / span <= row["waiting"] <= 1 - worked / span + 1e-6
