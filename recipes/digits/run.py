"""From a recipe to a trained `digits`: data, model, validation; the loop is that of every task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linnet.errors import OptionError
from linnet.training.loop import Validate
from linnet.training.numbered import NumberedPlan
from linnet.training.trainer import Trainer, make_accelerator

from .bank import Voices, load_fsdd
from .dataset import DigitBatches
from .recipe import DigitsRecipe
from .training_task import DigitsTask
from .validate import connected, degraded, nothing, transcripts, word_error_rate


def outline(recipe: DigitsRecipe) -> Iterator[tuple[str, str]]:
    """What a recipe comes to, as rows of a table: what, and its figure; checks that the data is there."""
    trainer, data = prepare(recipe)
    counted = (
        f"{name} {sum(value.numel() for value in module.parameters()):,}"
        for name, module in trainer.loss.named_children()
    )
    yield "parameters", ", ".join(counted)
    voices = data.load_voices(recipe.data.train_speakers)
    yield (
        "voices",
        ", ".join(f"{len(of)} {kind} {code}" for code, kinds in voices.items() for kind, of in kinds.items()),
    )
    yield "steps", str(trainer.steps)


def prepare(recipe: DigitsRecipe) -> tuple[Trainer, DigitBatches]:
    """The trainer with freshly seeded weights, and its data; fails early where the data is not there."""
    options = recipe.optimization
    if not options.steps:
        raise OptionError("optimization: name the `steps`: the speech is put together anew for each, without an end.")
    accelerator = make_accelerator(recipe.run)
    count = options.steps * options.accumulate * accelerator.num_processes
    data = DigitBatches(recipe.data, count, recipe.run.seed)
    data.load_voices(recipe.data.train_speakers)
    torch.manual_seed(recipe.run.seed)
    task = DigitsTask(recipe.model, recipe.losses, checkpointing=options.gradient_checkpointing)
    if recipe.model.start:
        task.start_from(Path(recipe.model.start))
    return Trainer(recipe, task, NumberedPlan(count, accelerator.num_processes, recipe.run.seed), accelerator), data


def validation(recipe: DigitsRecipe) -> Validate | None:
    """A function that scores a model on the validation speakers; None where the recipe has no real recordings."""
    if not recipe.data.fsdd:
        return None
    voices: Voices = {}
    load_fsdd(Path(recipe.data.fsdd), recipe.data.validation_speakers, voices)
    rng = np.random.default_rng([recipe.run.seed, 3])
    clean = [case for voice in voices["en"]["real"] for case in connected(voice, 40, (1, 8), rng)]
    rough = degraded(clean, rng)
    empty = nothing(rng, per_level=6)

    def validate(trainer: Trainer) -> dict[str, float]:
        model: Any = trainer.task.model
        heard = transcripts(model, clean, detect=True)
        return {
            "wer": word_error_rate(clean, heard),
            "rough_wer": word_error_rate(rough, transcripts(model, rough)),
            "english": sum(language == "en" for language, _ in heard) / len(heard),
            "invented": float(sum(bool(words) for _, words in transcripts(model, empty))),
        }

    return validate
