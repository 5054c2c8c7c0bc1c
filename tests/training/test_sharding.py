"""Weights split over two processes (gloo, FSDP2): the numbers of one process, and checkpoints that it takes up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from linnet.errors import LinnetError
from linnet.training.checkpoint import load_checkpoint
from linnet.training.context import RunContext
from linnet.training.freeze import WeightDrift
from linnet.training.loop import validated
from linnet.training.recipe import read_recipe
from linnet.training.sharding import shard, whole_tree
from linnet.training.shutdown import together
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from linnet.training.trainer import Trainer
from linnet.training.weights import swapped_weights, trained
from tests.support.ranks import on_ranks
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import fusion_recipe, save_bases, tone_corpus, write_recipe

STEPS = 3


def recipe_of(folder: Path, kind: str) -> SpeechRecipe:
    text = (folder / "recipe.yaml").read_text().replace("shard: none", f"shard: {kind}")
    path = folder / f"{kind}.yaml"
    path.write_text(text.replace("/out", f"/{kind}"))
    recipe = read_recipe(path)
    assert isinstance(recipe, SpeechRecipe)
    return recipe


def windows(data: Any, step: int, rank: int, world: int) -> list[Any]:
    """Two batches of each of two ranks; one process takes all four."""
    batches = [range(8 * step + start, 8 * step + stop) for start, stop in ((0, 1), (1, 4), (4, 6), (6, 8))]
    share = len(batches) // world
    return [data[rows] for rows in batches[rank * share : (rank + 1) * share]]


def run(folder: Path, kind: str) -> dict[str, Any]:
    """Three steps, then everything whole; the second rank has nothing to validate."""
    recipe = recipe_of(folder, kind)
    heard: list[list[str]] = []
    trainer, data, validate = prepare(
        recipe, load_task(recipe), RunContext(score=lambda _, texts, __: float(not heard.append(list(texts))))
    )
    assert validate is not None
    drift = WeightDrift(trainer.task.model, trainer.task.policy)
    steps = [trainer.update(windows(data, step, trainer.rank, trainer.world)) for step in range(STEPS)]
    held = sum(getattr(value, "_local_tensor", value).numel() for value in trainer.loss.parameters())
    row = validated(trainer, validate, drift)
    trainer.save()
    trainer.export("model")
    with swapped_weights(trainer.loss, trainer.average):
        averaged = {name: value.clone() for name, value in whole_tree(trained(trainer.loss)).items()}
    return {
        "losses": [step.loss for step in steps],
        "norms": [step.norm for step in steps],
        "held": held,
        "drift": row["drift"],
        "heard": heard,
        "weights": whole_tree(trained(trainer.loss)),
        "average": averaged,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    bases, manifest = save_bases(folder), tone_corpus(folder / "corpus")
    content = fusion_recipe(
        bases,
        manifest,
        folder / "out",
        freeze={"encoder": "top:1", "language_model": "all"},
        optimization={"accumulate": 2, "average": 0.5, "weight_decay": 0.1, "gradient_checkpointing": True},
        run={"shard": "none"},
    )
    content["losses"] = {"ctc": True}
    content["optimization"]["rates"] = {"ctc": 0.002}
    write_recipe(folder / "recipe.yaml", content)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    with one_thread():
        return run(folder, "none")


@pytest.mark.parametrize("kind", ["trained", "all"])
def test_two_processes_with_split_weights_are_one(folder: Path, alone: dict[str, Any], kind: str) -> None:
    ranks = on_ranks(2, run, folder, kind)
    assert None not in ranks
    split = alone["held"] if kind == "all" else sum(value.numel() for value in alone["weights"].values())
    assert all(rank["held"] < alone["held"] - 0.49 * split for rank in ranks)
    for rank in ranks:
        assert rank["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        assert rank["norms"] == pytest.approx(alone["norms"], rel=1e-4)
        assert rank["heard"] == alone["heard"]
        assert rank["drift"] == pytest.approx(alone["drift"], rel=1e-3)
        for part in ("weights", "average"):
            assert rank[part].keys() == alone[part].keys()
            for name, value in alone[part].items():
                torch.testing.assert_close(rank[part][name], value, rtol=1e-5, atol=1e-6, msg=name)
    one, other = (load_file(folder / place / "model" / "model.safetensors") for place in ("none", kind))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-6, msg=name)
    _goes_on_alone(folder, kind)


@pytest.mark.parametrize("kind", ["none", "trained"])
def test_adapters_in_bfloat16_beside_frozen_parts(folder: Path, kind: str) -> None:
    """Gradients of one step are those of one process; later ones differ as bfloat16 rounds."""
    place = folder / f"adapters-{kind}"
    place.mkdir()
    content = yaml.safe_load((folder / "recipe.yaml").read_text())
    content["freeze"] = {"encoder": "frozen", "projector": "all", "language_model": "lora(r=2)"}
    content["run"] |= {"precision": "bf16", "output": str(place / "out")}
    write_recipe(place / "recipe.yaml", content)
    alone = on_ranks(1, run, place, "none")[0]  # one precision in each process
    ranks = on_ranks(2, run, place, kind)
    assert any("lora_A" in name for name in alone["weights"])
    for rank in ranks:
        assert (rank["losses"][0], rank["norms"][0]) == pytest.approx((alone["losses"][0], alone["norms"][0]), rel=1e-4)
        assert rank["losses"] == pytest.approx(alone["losses"], rel=0.02)
        assert rank["weights"].keys() == alone["weights"].keys()
        assert all(torch.equal(value, ranks[0]["weights"][name]) for name, value in rank["weights"].items())


def out_of_memory(folder: Path) -> str:
    """A batch does not fit on the second rank."""
    recipe = recipe_of(folder, "trained")
    trainer, data, _ = prepare(recipe, load_task(recipe))
    forward = trainer.loss.forward

    def tight(tensors: dict[str, torch.Tensor]) -> Any:
        if trainer.rank == 1:
            raise torch.OutOfMemoryError("no room")
        return forward(tensors)

    trainer.loss.forward = tight
    try:
        with together():
            trainer.update(windows(data, 0, trainer.rank, trainer.world))
    except LinnetError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_too_little_memory_with_split_weights_ends_the_run(folder: Path) -> None:
    first, second = on_ranks(2, out_of_memory, folder)
    assert first.startswith("LostProcessError")
    assert second.startswith("LinnetError: step 1: a batch is out of memory, and with  shard: trained  no step can")


def test_one_process_splits_nothing() -> None:
    assert not shard(torch.nn.Linear(2, 2), "all", torch.device("cpu"))


def _goes_on_alone(folder: Path, kind: str) -> None:
    """One process takes up the checkpoint, and its moments are those of the run that was never split."""
    mine, theirs = (load_checkpoint(folder / place / "checkpoints") for place in ("none", kind))
    assert mine is not None
    assert theirs is not None
    assert mine["optimizer"]["state"].keys() == theirs["optimizer"]["state"].keys()
    for number, entry in mine["optimizer"]["state"].items():
        for name, value in entry.items():
            torch.testing.assert_close(theirs["optimizer"]["state"][number][name], value, rtol=1e-3, atol=1e-7)
    trainer, data = resumed(recipe_of(folder, kind))
    other, _ = resumed(recipe_of(folder, "none"))
    with one_thread():
        window = windows(data, 0, 0, 1)
        assert trainer.update(window).loss == pytest.approx(other.update(window).loss, rel=1e-5)


def resumed(recipe: SpeechRecipe) -> tuple[Trainer, Any]:
    trainer, data, _ = prepare(recipe, load_task(recipe))
    assert trainer.resume()
    assert trainer.step == STEPS
    return trainer, data
