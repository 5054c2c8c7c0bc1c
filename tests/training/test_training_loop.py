"""The loop: broken off and taken up again it gives the same numbers, and no kill leaves half a checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tones import tiny_recipe

from linnet.errors import ModelError, OptionError
from linnet.training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from linnet.training.digits.export import export
from linnet.training.digits.loop import train
from linnet.training.digits.model import build_model
from linnet.training.digits.recipe import DigitsRecipe
from linnet.training.digits.run import prepare
from linnet.training.recipe import read_recipe


def recipe_at(tmp_path: Path, bank: Path, name: str, steps: int = 6) -> DigitsRecipe:
    path = tmp_path / f"{name}.yaml"
    path.write_text(tiny_recipe(bank, tmp_path / name, steps))
    recipe = read_recipe(path)
    assert isinstance(recipe, DigitsRecipe)
    return recipe


def losses(recipe: DigitsRecipe, stop: int | None = None) -> dict[int, tuple[float, float]]:
    trainer, data = prepare(recipe, Path("/"))
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
    for part in ("model", "average"):
        assert all(torch.equal(ends[0][part][name], ends[1][part][name]) for name in ends[0][part])


def test_a_run_starts_from_the_average_of_another(tmp_path: Path, bank: Path) -> None:
    first = recipe_at(tmp_path, bank, "first", steps=2)
    losses(first)
    second = replace(first, run=replace(first.run, start=first.run.output, output=str(tmp_path / "second")))
    trainer, _ = prepare(second, Path("/"))
    end = load_checkpoint(tmp_path / "first" / "checkpoints")
    assert end is not None
    assert trainer.step == 0
    begun = trainer.module.state_dict()
    assert all(torch.equal(begun[name], end["average"][name]) for name in begun)
    larger = replace(second, model=replace(second.model, encoder_layers=2))
    grown, _ = prepare(larger, Path("/"))
    begun = grown.module.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in end["average"].items())
    assert any(".layers.1." in name for name in begun.keys() - end["average"].keys())
    for other in ({"encoder_layers": 0}, {"width": 32}):
        with pytest.raises(OptionError, match="first: "):
            prepare(replace(second, model=replace(second.model, **other)), Path("/"))
    nowhere = replace(second, run=replace(second.run, start=str(tmp_path / "nowhere")))
    with pytest.raises(OptionError, match="nowhere: neither a run with a checkpoint nor a model"):
        prepare(nowhere, Path("/"))


def test_a_run_starts_from_an_exported_model(tmp_path: Path, bank: Path) -> None:
    recipe = recipe_at(tmp_path, bank, "first", steps=2)
    exported = export(build_model(recipe.model), tmp_path / "exported")
    trainer, _ = prepare(replace(recipe, run=replace(recipe.run, start=str(exported))), Path("/"))
    weights = load_file(exported / "model.safetensors")
    for begun in (trainer.module.model.state_dict(), trainer.average.model.state_dict()):
        assert all(torch.equal(begun[name], value) for name, value in weights.items())


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


KILLED = """
import sys, torch
from pathlib import Path
from linnet.training.checkpoint import save_checkpoint
big = torch.arange(2_000_000)
step = 0
while True:
    step += 1
    save_checkpoint(Path(sys.argv[1]), step, {"step": step, "big": big})
    print(step, flush=True)
"""


@pytest.mark.parametrize("moment", [0.003, 0.011, 0.019])
def test_kill_9_leaves_a_whole_checkpoint(tmp_path: Path, moment: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3):
        written = int(process.stdout.readline())
    time.sleep(moment)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] >= written
    assert torch.equal(state["big"], torch.arange(2_000_000))


def run_linnet(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "linnet", "train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_trains_exports_and_takes_up_again(tmp_path: Path, bank: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(tiny_recipe(bank, Path("out"), steps=4))
    done = run_linnet("recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "out/model"
    rows = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert (tmp_path / "out/model/model.safetensors").is_file()
    again = run_linnet("recipe.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len((tmp_path / "out/log.jsonl").read_text().splitlines()) == 4


def test_the_command_names_a_bad_key_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("modle: {}")
    done = run_linnet("recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0
    assert "did you mean 'model'?" in done.stderr
    assert "Traceback" not in done.stderr
