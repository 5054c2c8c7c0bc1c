"""Two processes (gloo) train as one: the same gradient, every utterance once, one log, one model."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from linnet.training.batch import Batch
from linnet.training.checkpoint import list_checkpoints
from linnet.training.context import RunContext
from linnet.training.loop import train
from linnet.training.recipe import read_recipe
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from linnet.training.trainer import Step
from tests.support.ranks import on_ranks
from tests.support.tiny_recipes import fusion_recipe, save_bases, speech_recipe, tone_corpus

EVERYTHING = sorted(f"{number}.wav" for number in range(23))


def trained_here(folder: Path) -> dict[str, Any]:
    """An epoch on one rank, and before it the gradients of eight utterances: one and three are this rank's."""
    recipe, heard, taken = read_recipe(folder / "recipe.yaml"), list[list[str]](), list[list[str]]()
    assert isinstance(recipe, SpeechRecipe)
    task = load_task(recipe)

    def score(_: Sequence[str], texts: Sequence[str], __: Sequence[str | None]) -> float:
        heard.append(list(texts))
        return 0.5

    trainer, data, validate = prepare(recipe, task, RunContext(score=score))
    rank = trainer.rank
    trainer.loss.train()
    trainer.backward([data[range(4 * rank, 4 * rank + 1)], data[range(4 * rank + 1, 4 * rank + 4)]])
    gradients = {n: v.grad.clone() for n, v in task.model.named_parameters() if v.grad is not None}
    trainer.optimizer.zero_grad()
    update = trainer.update

    def counted(window: Sequence[Batch]) -> Step:
        taken.append([name for batch in window for name in batch.ids])
        return update(window)

    trainer.update = counted  # type: ignore[method-assign]
    rows = list(train(trainer, data, validate))
    weights = task.model.projector.last.weight.tolist()
    return {"ids": taken, "rows": rows, "heard": heard, "weights": weights, "gradients": gradients}


def test_two_processes_train_as_one_and_one_goes_on(tmp_path: Path) -> None:
    bases, manifest = save_bases(tmp_path), tone_corpus(tmp_path / "corpus", 23)
    content = fusion_recipe(
        bases,
        manifest,
        tmp_path / "out",
        optimization={"steps": 0, "epochs": 1.0},
        data={"validation_limit": 5, "batching": {"budget": 2.0, "groups": 3}},
        run={"checkpoint_every": 2},
    )
    recipe = speech_recipe(tmp_path / "recipe.yaml", content)
    ranks = on_ranks(2, trained_here, tmp_path)
    _same_gradients(recipe, [rank["gradients"] for rank in ranks])
    steps = [one + other for one, other in zip(ranks[0]["ids"], ranks[1]["ids"], strict=True)]
    assert sorted(name for names in steps for name in names) == EVERYTHING
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["heard"] == ranks[1]["heard"]
    assert [len(texts) for texts in ranks[0]["heard"]] == [5] * len(ranks[0]["heard"])
    assert ranks[1]["rows"] == []
    assert ranks[0]["rows"][-1]["epoch"] == 1.0
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == len(ranks[0]["rows"])
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    _goes_on_alone(recipe, tmp_path, steps)


def _same_gradients(recipe: SpeechRecipe, gradients: list[dict[str, torch.Tensor]]) -> None:
    """What both processes moved by is what one moves by that has all eight utterances."""
    task = load_task(recipe)
    trainer, data, _ = prepare(recipe, task)
    trainer.loss.train()
    trainer.backward([data[range(8)]])
    for given in gradients:
        for name, value in task.model.named_parameters():
            if value.grad is not None:
                torch.testing.assert_close(given[name], value.grad, rtol=2e-4, atol=1e-6, msg=name)


def _goes_on_alone(recipe: SpeechRecipe, folder: Path, steps: list[list[str]]) -> None:
    """One process takes up the last checkpoint but one, and has exactly what was left of the epoch."""
    before, newest = list_checkpoints(folder / "out" / "checkpoints")
    shutil.rmtree(newest)
    done = int(before.name.removeprefix("step-"))
    assert 0 < done < len(steps)
    trainer, data, _ = prepare(recipe, load_task(recipe))
    rest: list[str] = []
    update = trainer.update

    def counted(window: Sequence[Batch]) -> Step:
        if trainer.batches.epoch == 0:
            rest.extend(name for batch in window for name in batch.ids)
        return update(window)

    trainer.update = counted  # type: ignore[method-assign]
    trainer.steps = 3 * len(steps)
    for _ in train(trainer, data):
        if trainer.batches.epoch == 1:
            break
    assert sorted([name for names in steps[:done] for name in names] + rest) == EVERYTHING
