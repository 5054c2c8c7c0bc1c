"""Learning rates of parts: each weight moves by its own, what is asked for is there, and a run goes on with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from linnet.errors import OptionError
from linnet.training.loop import run_recipe
from linnet.training.optimization import cosine_rate, parameter_groups
from linnet.training.options import Optimization
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.tiny_recipes import fusion_recipe, save_bases, speech_recipe, tone_corpus

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> SpeechRecipe:
    root = tmp_path_factory.mktemp("rates")
    content = fusion_recipe(save_bases(root / "bases"), tone_corpus(root / "corpus", 8), root / "out")
    content["freeze"] = {"encoder": "top:1"}
    content["losses"] = {"ctc": True}
    return speech_recipe(root / "recipe.yaml", content)


def test_each_part_moves_by_its_own_rate(recipe: SpeechRecipe) -> None:
    """Adam's first step is the learning rate long in every direction that has a gradient."""
    options = Optimization(steps=10, learning_rate=1e-3, rates={"encoder": 1e-5, "ctc": 4e-3}, warmup=0.5, clip=0.0)
    recipe = replace(recipe, optimization=options)
    trainer, data, _ = prepare(recipe, load_task(recipe))
    before = {name: value.detach().clone() for name, value in trainer.loss.named_parameters()}
    trainer.update([data[range(8)]])
    moved: dict[str, float] = {}
    for name, value in trainer.loss.named_parameters():
        part = name.removeprefix("model.").split(".")[0]
        moved[part] = max(moved.get(part, 0.0), float((value.detach() - before[name]).abs().max()))
    share = cosine_rate(0, 10, 1.0, 0.5)
    assert share == 0.2
    assert moved.pop("language_model") == 0
    assert moved == pytest.approx({"encoder": 1e-5 * share, "projector": 1e-3 * share, "ctc": 4e-3 * share}, rel=0.02)


def test_groups_hold_each_trained_weight_once_by_the_longest_path() -> None:
    loss = nn.Module()
    loss.model = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "other": nn.Linear(2, 2)})
    loss.model["encoder"][0].bias.requires_grad_(False)
    groups = parameter_groups(loss, Optimization(rates={"encoder": 0.1, "encoder.1": 0.2}, weight_decay=0.5))
    other, encoder = loss.model["other"], loss.model["encoder"]
    expected: list[tuple[list[Any], float, float]] = [
        ([other.weight], 1e-3, 0.5),
        ([other.bias], 1e-3, 0.0),
        ([encoder[0].weight], 0.1, 0.5),
        ([], 0.1, 0.0),
        ([encoder[1].weight], 0.2, 0.5),
        ([encoder[1].bias], 0.2, 0.0),
    ]
    for group, (values, rate, decay) in zip(groups, expected, strict=True):
        assert [id(value) for value in group["params"]] == [id(value) for value in values]
        assert (group["lr"], group["weight_decay"]) == (rate, decay)


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ({"encodr": 1e-5}, "the model has no part 'encodr'; did you mean 'encoder'"),
        ({"language_model": 1e-5}, "nothing of 'language_model' is trained"),
    ],
)
def test_a_rate_that_moves_nothing_is_refused(recipe: SpeechRecipe, rates: dict[str, float], says: str) -> None:
    recipe = replace(recipe, optimization=Optimization(steps=1, rates=rates))
    with pytest.raises(OptionError, match=says):
        prepare(recipe, load_task(recipe))


def test_a_run_goes_on_with_other_rates_of_the_same_parts_only(recipe: SpeechRecipe, tmp_path: Path) -> None:
    recipe = replace(recipe, run=replace(recipe.run, output=str(tmp_path / "run")))
    options = Optimization(steps=2, rates={"encoder": 1e-5})
    list(run_recipe(replace(recipe, optimization=options)))
    longer = replace(options, steps=3, rates={"encoder": 3e-5})
    trainer, _, _ = prepare(replace(recipe, optimization=longer), load_task(recipe))
    assert trainer.resume()
    assert trainer.step == 2
    assert [row["step"] for row in run_recipe(replace(recipe, optimization=longer))] == [3]
    with pytest.raises(OptionError, match="`rates` for other parts: name the same parts"):
        list(run_recipe(replace(recipe, optimization=replace(longer, rates={}))))


def test_a_step_without_a_gradient_for_a_part_moves_the_others(recipe: SpeechRecipe) -> None:
    """A group may be empty: here all that is trained has a rate of its own."""
    recipe = replace(recipe, losses=type(recipe.losses)(), freeze={"projector": "all"})
    recipe = replace(recipe, optimization=Optimization(steps=1, rates={"projector": 1e-2}))
    trainer, data, _ = prepare(recipe, load_task(recipe))
    before = trainer.task.model.projector.last.weight.detach().clone()
    step = trainer.update([data[range(8)]])
    assert not step.skipped
    assert not torch.equal(trainer.task.model.projector.last.weight, before)
