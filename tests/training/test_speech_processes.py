"""Two processes (gloo) train as one: the same gradient, every utterance once, one log, one model."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from linnet.training.batch import Batch
from linnet.training.checkpoint import list_checkpoints
from linnet.training.loop import train
from linnet.training.recipe import read_recipe
from linnet.training.speech.model import load_trainee
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from linnet.training.trainer import Step
from tiny_recipes import fusion_recipe, save_bases, tone_corpus, write_recipe

EVERYTHING = sorted(f"{number}.wav" for number in range(23))
PROCESS = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from linnet.training.recipe import read_recipe
from linnet.training.loop import train
from linnet.training.speech.model import load_trainee
from linnet.training.speech.run import prepare

folder = Path(sys.argv[1])
trainee = load_trainee(read_recipe(folder / "recipe.yaml"))
heard = []
def score(references, hypotheses, languages):
    heard.append(hypotheses)
    return 0.5
trainer, data, validate = prepare(read_recipe(folder / "recipe.yaml"), trainee, score=score)
rank, world = trainer.rank, trainer.world
trainer.loss.train()
first = [data[range(4 * rank, 4 * rank + 1)], data[range(4 * rank + 1, 4 * rank + 4)]]
trainer.backward(first)
gradients = {n: v.grad.clone() for n, v in trainee.model.named_parameters() if v.grad is not None}
torch.save(gradients, folder / f"gradients-{rank}.pt")
trainer.optimiser.zero_grad()
taken, update = [], trainer.update
trainer.update = lambda window: taken.append([n for b in window for n in b.ids]) or update(window)
rows = list(train(trainer, data, validate))
weights = trainee.model.projector.last.weight.tolist()
with open(folder / f"rank-{rank}.json", "w") as file:
    json.dump({"ids": taken, "rows": rows, "heard": heard, "weights": weights}, file)
trainer.accelerator.end_training()
"""


def test_two_processes_train_as_one_and_one_goes_on(tmp_path: Path) -> None:
    bases, manifest = save_bases(tmp_path), tone_corpus(tmp_path / "corpus", 23)
    content = fusion_recipe(
        bases,
        manifest,
        tmp_path / "out",
        optimisation={"steps": 0, "epochs": 1.0},
        data={"validation_limit": 5, "batching": {"budget": 2.0, "groups": 3}},
        run={"checkpoint_every": 2},
    )
    recipe = read_recipe(write_recipe(tmp_path / "recipe.yaml", content))
    assert isinstance(recipe, SpeechRecipe)
    (tmp_path / "process.py").write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, tmp_path / "process.py", tmp_path], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    _same_gradients(recipe, tmp_path)
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


def _same_gradients(recipe: SpeechRecipe, folder: Path) -> None:
    """What both processes moved by is what one moves by that has all eight utterances."""
    trainee = load_trainee(recipe)
    trainer, data, _ = prepare(recipe, trainee)
    trainer.loss.train()
    trainer.backward([data[range(8)]])
    for rank in (0, 1):
        given = torch.load(folder / f"gradients-{rank}.pt")
        for name, value in trainee.model.named_parameters():
            if value.grad is not None:
                torch.testing.assert_close(given[name], value.grad, rtol=2e-4, atol=1e-6, msg=name)


def _goes_on_alone(recipe: SpeechRecipe, folder: Path, steps: list[list[str]]) -> None:
    """One process takes up the last checkpoint but one, and has exactly what was left of the epoch."""
    before, newest = list_checkpoints(folder / "out" / "checkpoints")
    shutil.rmtree(newest)
    done = int(before.name.removeprefix("step-"))
    assert 0 < done < len(steps)
    trainer, data, _ = prepare(recipe, load_trainee(recipe))
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
