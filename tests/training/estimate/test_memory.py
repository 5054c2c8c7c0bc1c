"""What a recipe takes of memory: amounts, the cache and its key, what a dry run says, the estimate."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linnet.data.batching import Cost, Lengths, Peak
from linnet.errors import OptionError, OutputError
from linnet.machine import parse_bytes, show_bytes
from linnet.training.estimate import memory
from linnet.training.estimate.dry_run import dry_run
from linnet.training.estimate.memory import Fit, batch_cost, fit_key, load_fit, save_fit, usable_memory
from linnet.training.speech.model import load_task, outline
from linnet.training.speech.recipe import SpeechRecipe
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus

FIT = Fit(
    Peak((Cost(per_second=4e6, per_token=0.0, fixed=3e6), Cost(1e6, 2e3, 5e5, 2e6, 7e4))),
    1_000_000,
    ((1, 0.2, 1), (8, 0.6, 4)),
    (4_000_000, 22_200_000),
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    with one_thread():
        yield


@pytest.fixture
def recipe(bases: dict[str, Path], tmp_path: Path) -> SpeechRecipe:
    return read(bases, tmp_path)


def read(bases: dict[str, Path], folder: Path, **changes: dict[str, Any]) -> SpeechRecipe:
    manifest = tone_corpus(folder / "corpus", 12)
    return speech_recipe(folder / "recipe.yaml", fusion_recipe(bases, manifest, folder / "out", **changes))


@pytest.mark.parametrize(
    ("text", "count"),
    [("40GB", 40e9), ("500 MB", 5e8), ("24GiB", 24 * 2**30), ("1.5g", 1.5e9), ("7", 7), ("2KiB", 2048), ("1TB", 1e12)],
)
def test_amounts(text: str, count: float) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "much", "-4GB", "4 PB", "GB", "0GB", "4GB left"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(OptionError, match=r"write it as 40GB, 500MB or 24GiB"):
        parse_bytes(text)


def test_a_share_of_what_is_free() -> None:
    assert usable_memory(100, torch.device("cuda"), 4) == 92
    assert usable_memory(100, torch.device("cpu"), 2) == 25


# --- the cache


def test_the_key_is_that_of_the_outline_and_moves_with_what_matters(recipe: SpeechRecipe) -> None:
    key = fit_key(recipe, load_task(recipe), 1)

    def of(world: int = 1, **changes: Any) -> dict[str, Any]:
        changed = dataclasses.replace(recipe, **changes)
        return fit_key(changed, outline(changed), world)

    moved, run = dataclasses.replace(recipe.optimization, learning_rate=1.0, steps=7), recipe.run
    assert of() == key
    assert of(optimization=moved, run=dataclasses.replace(run, seed=4, output="elsewhere", beams=3)) == key
    different = [
        of(world=2),
        of(freeze={"language_model": "lora(r=2)"}),
        of(freeze={"encoder": "all"}),
        of(model=dataclasses.replace(recipe.model, projector={"hidden": 24})),
        of(model=dataclasses.replace(recipe.model, instruction="Write.")),
        of(model=dataclasses.replace(recipe.model, dtype="bfloat16")),
        of(optimization=dataclasses.replace(moved, gradient_checkpointing=True)),
        of(optimization=dataclasses.replace(moved, accumulate=2)),
        of(optimization=dataclasses.replace(moved, average=0.9)),
        of(run=dataclasses.replace(run, precision="bf16")),
        of(losses=dataclasses.replace(recipe.losses, text=0.5)),
    ]
    assert len({json.dumps(each, sort_keys=True) for each in [key, *different]}) == 1 + len(different)


def test_the_key_moves_with_device_and_versions(recipe: SpeechRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    task = outline(recipe)
    key = fit_key(recipe, task, 1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    other = fit_key(recipe, task, 1)
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert key != other != fit_key(recipe, task, 1)


def test_what_is_kept_comes_back_under_its_key_alone(tmp_path: Path) -> None:
    path = save_fit(FIT, {"model": "one"})
    assert path.is_relative_to(tmp_path / "cache")
    assert load_fit({"model": "one"}) == FIT
    assert load_fit({"model": "two"}) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cost": {"moments": []}}', '{"key": 3}'])
def test_a_damaged_file_is_named(content: str) -> None:
    path = save_fit(FIT, {"model": "one"})
    path.write_text(content)
    with pytest.raises(OptionError, match=rf"{path.name}: not a readable measurement .* --force"):
        load_fit({"model": "one"})


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(OutputError, match="LINNET_CACHE"):
        save_fit(FIT, {})


# --- what batches cost


def lengths(longest: float) -> Lengths:
    return Lengths(np.float32([0.3, longest]), np.int32([2, 4]), (("a", 2),), "x")


def test_a_budget_in_memory_takes_what_was_measured(bases: dict[str, Path], tmp_path: Path) -> None:
    recipe = read(bases, tmp_path, data={"batching": {"memory": "12MB"}})
    task, rows = outline(recipe), np.arange(2)
    with pytest.raises(OptionError, match=r"not measured .* linnet train fit-memory RECIPE  first"):
        batch_cost(recipe, task, lengths(0.6), rows, 1)
    save_fit(FIT, fit_key(recipe, task, 1))
    assert batch_cost(recipe, task, lengths(0.6), rows, 1) == (FIT.cost, 12_000_000)
    with pytest.raises(OptionError, match="shorter audio or texts only"):
        batch_cost(recipe, task, lengths(0.9), rows, 1)
    with pytest.raises(OptionError, match="fit-memory RECIPE --processes 2"):
        batch_cost(recipe, task, lengths(0.6), rows, 2)


def test_auto_is_a_share_of_what_is_free(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read(bases, tmp_path, data={"batching": {"memory": "auto"}})
    task = outline(recipe)
    save_fit(FIT, fit_key(recipe, task, 1))
    monkeypatch.setattr(memory, "free_memory", lambda device: 90_000_000)
    assert batch_cost(recipe, task, lengths(0.6), np.arange(2), 1)[1] == 45_000_000


# --- a dry run


def test_a_dry_run_counts_to_the_byte_and_says_what_is_not_measured(bases: dict[str, Path], tmp_path: Path) -> None:
    recipe = read(bases, tmp_path, optimization={"average": 0.9}, model={"dtype": "bfloat16"})
    rows = dict(dry_run(recipe))
    parameters = list(load_task(recipe).loss.parameters())
    weights = sum(value.numel() * value.element_size() for value in parameters)
    trained = sum(value.numel() for value in parameters if value.requires_grad)
    each = [weights + 16 * trained, weights, 4 * trained, 8 * trained, 4 * trained]
    shown = "{}: weights {}, gradients {}, AdamW {}, moving average {}"
    assert rows["memory"] == shown.format(*(show_bytes(count) for count in each))
    assert rows["memory of a step"] == "not measured: run  linnet train fit-memory RECIPE"


def test_a_dry_run_says_what_was_measured(bases: dict[str, Path], tmp_path: Path) -> None:
    recipe = read(bases, tmp_path, data={"batching": {"memory": "12MB", "groups": 2}})
    save_fit(FIT, fit_key(recipe, outline(recipe), 1))
    rows = dict(dry_run(recipe))
    said = rows["memory of a step"]
    assert said.startswith("at most 1")
    assert "by measurement, for" in said
    assert float(said.split()[2]) <= 12.0


def test_without_data_it_is_of_a_likely_batch(bases: dict[str, Path], tmp_path: Path) -> None:
    recipe = read(bases, tmp_path, data={"train": [{"path": "nowhere.jsonl"}]})
    assert dict(dry_run(recipe))["memory of a step"].startswith("not measured: run")
    shapes = ((1, 30.0, 99), *FIT.shapes)
    save_fit(dataclasses.replace(FIT, shapes=shapes, measured=(1, *FIT.measured)), fit_key(recipe, outline(recipe), 1))
    assert "by measurement, for 1 utterance of 30.00 s and 99 tokens" in dict(dry_run(recipe))["memory of a step"]
    save_fit(FIT, fit_key(recipe, outline(recipe), 1))
    assert "measured for shorter audio or texts only: run" in dict(dry_run(recipe))["memory of a step"]
