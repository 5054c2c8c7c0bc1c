"""The loop: broken off and taken up again it gives the same numbers, and no kill leaves half a checkpoint."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from linnet.errors import ModelError, OptionError
from linnet.training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from linnet.training.loop import train
from linnet.training.numbered import NumberedPlan
from linnet.training.recipe import read_recipe
from recipes.digits.losses import DigitsLosses
from recipes.digits.recipe import DigitsRecipe
from recipes.digits.run import prepare
from recipes.digits.training_task import DigitsTask
from tests.support.digits_bank import tiny_recipe
from tests.support.forked import Killed, run_linnet


def recipe_at(tmp_path: Path, bank: Path, name: str, steps: int = 6) -> DigitsRecipe:
    path = tmp_path / f"{name}.yaml"
    path.write_text(tiny_recipe(bank, tmp_path / name, steps))
    recipe = read_recipe(path)
    assert isinstance(recipe, DigitsRecipe)
    return recipe


def losses(recipe: DigitsRecipe, stop: int | None = None) -> dict[int, tuple[float, float]]:
    trainer, data = prepare(recipe)
    found = {}
    for row in train(trainer, data):
        found[row["step"]] = (row["loss"], row["norm"])
        if row["step"] == stop:
            break
    return found


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path, bank: Path) -> None:
    whole = losses(recipe_at(tmp_path, bank, "whole"))
    broken = recipe_at(tmp_path, bank, "broken")
    first = losses(broken, stop=5)  # the newest checkpoint is of step 4
    second = losses(broken)
    assert sorted(second) == [5, 6]
    assert {**first, **second} == whole
    ends = [load_checkpoint(tmp_path / name / "checkpoints") for name in ("whole", "broken")]
    assert ends[0] is not None
    assert ends[1] is not None
    for part in ("weights", "average"):
        assert all(torch.equal(ends[0][part][name], ends[1][part][name]) for name in ends[0][part])


def test_a_run_starts_from_the_average_of_another(tmp_path: Path, bank: Path) -> None:
    first = recipe_at(tmp_path, bank, "first", steps=2)
    losses(first)
    model, run = replace(first.model, start=first.run.output), replace(first.run, output=str(tmp_path / "second"))
    second = replace(first, model=model, run=run)
    trainer, _ = prepare(second)
    end = load_checkpoint(tmp_path / "first" / "checkpoints")
    assert end is not None
    assert trainer.step == 0
    begun = trainer.loss.state_dict()
    assert len(end["average"]) == sum(value.requires_grad for value in trainer.loss.parameters())
    assert all(torch.equal(begun[name], value) for name, value in end["average"].items())
    larger = replace(second, model=replace(second.model, encoder_layers=2))
    grown, _ = prepare(larger)
    begun = grown.loss.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in end["average"].items())
    assert any(".layers.1." in name for name in begun.keys() - end["average"].keys())
    for other in ({"encoder_layers": 0}, {"width": 32}):
        with pytest.raises(OptionError, match="first: "):
            prepare(replace(second, model=replace(second.model, **other)))
    nowhere = replace(second, model=replace(second.model, start=str(tmp_path / "nowhere")))
    with pytest.raises(OptionError, match="nowhere: neither a run with a checkpoint nor a model"):
        prepare(nowhere)


def test_a_run_starts_from_an_exported_model(tmp_path: Path, bank: Path) -> None:
    recipe = recipe_at(tmp_path, bank, "first", steps=2)
    exported = DigitsTask(recipe.model, recipe.losses).export(tmp_path / "exported")
    trainer, _ = prepare(replace(recipe, model=replace(recipe.model, start=str(exported))))
    weights = load_file(exported / "model.safetensors")
    begun = trainer.task.model.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in weights.items())
    averaged = [name for name in weights if f"model.{name}" in trainer.average]
    assert len(averaged) >= len(weights) - 1  # the encoder's positions stay as they are
    assert all(torch.equal(trainer.average[f"model.{name}"], weights[name]) for name in averaged)


def test_the_parts_of_the_loss_are_weighted_means_times_the_tokens(tmp_path: Path, bank: Path) -> None:
    """The oracle: each mean by hand, in float64; the helpers' weight falls from `helpers` to a tenth."""
    recipe = recipe_at(tmp_path, bank, "parts", steps=4)
    recipe = replace(recipe, losses=DigitsLosses(smoothing=0.1, helpers=0.5))
    trainer, data = prepare(recipe)
    batch = data[2]
    with torch.no_grad():
        loss: Any = trainer.loss.double()
        given = {name: value.double() if value.is_floating_point() else value for name, value in batch.tensors.items()}
        parts = loss(given)
        encoded = loss.encode(given["features"])
        logits = trainer.task.model.proj_out(  # type: ignore[operator]
            trainer.task.model.model.decoder(input_ids=given["inputs"], encoder_hidden_states=encoded)[0]  # type: ignore
        )
        told = logits.log_softmax(-1)
        rows, columns = (given["labels"] != -100).nonzero(as_tuple=True)
        right = told[rows, columns, given["labels"][rows, columns]]
        text = -(0.9 * right + 0.1 * told[rows, columns].mean(-1)).sum()
        heard = loss.frame_head(encoded).log_softmax(-1)
        frames = -heard.gather(-1, given["frames"].clamp(min=0)[..., None])[..., 0][given["frames"] != -100].mean()
    assert float(parts["text"]) == pytest.approx(float(text), rel=1e-5)
    assert float(parts["frames"]) == pytest.approx(0.5 * 0.55 * batch.tokens * float(frames), rel=1e-5)
    assert set(parts) == {"text", "frames", "context", "looks"}


def test_two_processes_take_every_batch_once_and_go_on_where_they_were() -> None:
    plans = [NumberedPlan(12, 2, 0) for _ in range(2)]
    assert sorted(n for rank, plan in enumerate(plans) for n in plan.of_rank(rank)) == list(range(12))
    again = NumberedPlan(12, 2, 0)
    assert again.restore(plans[0].state(4)) == 4
    assert list(again.of_rank(1)) == [9, 11]
    for other in (NumberedPlan(12, 1, 0), NumberedPlan(12, 2, 1)):
        with pytest.raises(OptionError, match="another seed or number of processes"):
            other.restore(plans[0].state(4))


def test_training_lowers_the_loss(tmp_path: Path, bank: Path) -> None:
    found = losses(recipe_at(tmp_path, bank, "long", steps=40))
    assert sum(found[step][0] for step in range(36, 41)) < 0.8 * sum(found[step][0] for step in range(1, 6))


def test_old_checkpoints_go_and_leftovers_are_cleared(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    (tmp_path / ".step-00000004.1.tmp").mkdir()
    state = load_checkpoint(tmp_path)
    assert state == {"step": 3}
    assert not list(tmp_path.glob(".*"))


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"step": 1}) / "state.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"state\.pt"):
        load_checkpoint(tmp_path)


def save_for_ever(tell: Callable[[int], None], folder: Path) -> None:
    big = torch.arange(2_000_000)
    for step in count(1):
        save_checkpoint(folder, step, {"step": step, "big": big})
        tell(step)


@pytest.mark.parametrize("moment", [0.003, 0.011, 0.019])
def test_kill_9_leaves_a_whole_checkpoint(tmp_path: Path, moment: float) -> None:
    with Killed(save_for_ever, tmp_path) as process:
        for _ in range(3):
            written = process.told()
        time.sleep(moment)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] >= written
    assert torch.equal(state["big"], torch.arange(2_000_000))


def test_the_command_trains_exports_and_takes_up_again(tmp_path: Path, bank: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(tiny_recipe(bank, Path("out"), steps=4))
    done = run_linnet("train", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "out/model"
    rows = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert (tmp_path / "out/model/model.safetensors").is_file()
    again = run_linnet("train", "recipe.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len((tmp_path / "out/log.jsonl").read_text().splitlines()) == 4


def test_a_dry_run_counts_and_trains_nothing(tmp_path: Path, bank: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(tiny_recipe(bank, Path("out"), steps=4))
    done = run_linnet("train", "recipe.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 espeak en" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["steps", "4"]
    assert not (tmp_path / "out").exists()


def test_the_command_names_a_bad_key_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("modle: {}")
    done = run_linnet("train", "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0
    assert "did you mean 'model'?" in done.stderr
    assert "Traceback" not in done.stderr
