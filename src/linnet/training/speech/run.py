"""From a recipe for a speech model to a trained one: model, data, batches, loop."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linnet import __version__
from linnet.data.batching import Binning, Cost, Selection, bin_utterances, select
from linnet.errors import OptionError, OutputError
from linnet.training.checkpoint import restore_folder
from linnet.training.recipe import as_dict
from linnet.training.speech.corpus import BatchesOfSound, Corpus, read_corpus
from linnet.training.speech.inputs import Inputs
from linnet.training.speech.loop import train
from linnet.training.speech.model import Trainee, load_trainee, trained
from linnet.training.speech.recipe import SpeechData, SpeechRecipe
from linnet.training.speech.trainer import Trainer
from linnet.training.speech.validate import Score, validation

log = logging.getLogger(__name__)
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Planned:
    """The training data: all that can be used, what of it is kept, what a batch costs, and the bins by that."""

    corpus: Corpus
    selection: Selection
    cost: Cost
    binning: Binning


def run_speech(
    recipe: SpeechRecipe, *, score: Score | None = None, skip_bad: bool = False, tell: Tell = log.info
) -> Iterator[dict[str, Any]]:
    """Train what the recipe says; yields the rows of the log.

    A run that was broken off goes on from its newest checkpoint; a finished one only writes its model again. `score`
    counts the errors of the validation set; without one nothing is validated. `tell` gets sentences for a person.

    Raises:
        OptionError: the recipe or the data that it names is not usable.
        OutputError: a checkpoint cannot be written.
    """
    trainee = load_trainee(recipe)
    trainer, data, validate = prepare(recipe, trainee, score=score, skip_bad=skip_bad, tell=tell)
    if trainer.leads:
        _write_recipe(recipe, trainer.folder)
    yield from train(trainer, data, validate)


def prepare(
    recipe: SpeechRecipe,
    trainee: Trainee,
    *,
    score: Score | None = None,
    skip_bad: bool = False,
    tell: Tell = log.info,
) -> tuple[Trainer, BatchesOfSound, Callable[[Trainer], float] | None]:
    """The trainer at its first step, its batches, and what validates it (None without `score` or a validation set)."""
    planned = plan(recipe.data, trainee.inputs, skip_bad=skip_bad, tell=tell)
    for line in planned.selection.lines():
        tell(line)
    validate = None
    if recipe.data.validation is not None and score is not None:
        limit = recipe.data.validation_limit
        held = read_corpus([recipe.data.validation], trainee.inputs, skip_bad=skip_bad, limit=limit, tell=tell)
        validate = validation(held, score)
    folder = Path(recipe.run.output)
    trainer = Trainer(recipe, trainee, planned.binning, folder)
    if trainer.leads:
        for name in ("best", "model"):
            restore_folder(folder / name)
        _require_room(trainer, folder)
    seed, augment = recipe.run.seed, recipe.data.augment
    return trainer, BatchesOfSound(planned.corpus, seed=seed, augment=augment, skip_bad=skip_bad), validate


def plan(data: SpeechData, inputs: Inputs, *, skip_bad: bool, tell: Tell) -> Planned:
    """Read and measure the training data, and sort it into bins. Raises `OptionError` where that cannot be done."""
    if not data.train:
        raise OptionError("data: `train` names no source, such as  train: [{path: train.jsonl}]")
    corpus = read_corpus(data.train, inputs, skip_bad=skip_bad, tell=tell)
    longest = min(data.longest or np.inf, inputs.longest)
    selection = select(corpus.lengths, longest=longest, deviations=data.deviations)
    options = data.batching
    cost = Cost(options.per_second, options.per_square_second, options.per_token)
    binning = bin_utterances(
        corpus.lengths, cost, options.budget, rows=selection.rows, groups=options.groups, splits=options.splits
    )
    return Planned(corpus, selection, cost, binning)


def result_folder(recipe: SpeechRecipe) -> Path:
    """Where a finished run's model is: the one of the lowest error rate, or the last where none was counted."""
    best = Path(recipe.run.output) / "best"
    return best if best.is_dir() else Path(recipe.run.output) / "model"


def _write_recipe(recipe: SpeechRecipe, folder: Path) -> None:
    """The recipe with all its defaults, and the versions of what trains, beside the checkpoints."""
    import torch
    import transformers

    versions = {"linnet": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
    folder.mkdir(parents=True, exist_ok=True)
    content = {"task": "speech", **as_dict(recipe), "versions": versions}
    (folder / "recipe.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _require_room(trainer: Trainer, folder: Path) -> None:
    """Raise an `OutputError` at once where the disk has no room for the run's checkpoints."""
    import shutil

    weights = sum(value.numel() * value.element_size() for value in trained(trainer.trainee.model).values())
    copies = 3 + bool(trainer.average)  # weights, and AdamW's two moments
    needed = weights * copies * (trainer.recipe.run.keep + 1)
    at = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(at).free
    if free < needed:
        raise OutputError(
            f"{folder}: the checkpoints take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room, keep "
            "fewer (`keep`), or choose another `output`."
        )
