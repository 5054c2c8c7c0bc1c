"""From a recipe to a trained `digits`: data, model, loop, validation, export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration

from linnet.training.digits.bank import Voices, load_fsdd
from linnet.training.digits.dataset import DigitBatches
from linnet.training.digits.export import export
from linnet.training.digits.loop import Trainer, Validate, train
from linnet.training.digits.model import build_model
from linnet.training.digits.recipe import DigitsRecipe
from linnet.training.digits.validate import connected, nothing, roughened, transcripts, word_error_rate


def run_digits(recipe: DigitsRecipe) -> Iterator[dict[str, Any]]:
    """Train `digits` by a recipe and export it to `<output>/model`; yields the rows of the log.

    Paths in a recipe are relative to the folder where it is run. A run that was broken off goes on from its newest
    checkpoint; a finished one only exports again.

    Raises:
        OptionError: the recipe or the data that it names is not usable.
    """
    folder = Path(recipe.run.output)
    trainer, data = prepare(recipe, Path.cwd())
    yield from train(trainer, data, validation(recipe, Path.cwd()))
    export(trainer.average.model, folder / "model")


def prepare(recipe: DigitsRecipe, root: Path) -> tuple[Trainer, DigitBatches]:
    """The trainer with freshly seeded weights, and its data; fails early where the data is not there."""
    torch.manual_seed(recipe.run.seed)
    data = DigitBatches(recipe.data, recipe.optimisation.steps, recipe.run.seed, root)
    data.load_voices(recipe.data.train_speakers)
    trainer = Trainer(recipe, build_model(recipe.model), root / recipe.run.output)
    if recipe.run.start:
        trainer.start_from(root / recipe.run.start)
    return trainer, data


def validation(recipe: DigitsRecipe, root: Path) -> Validate | None:
    """A function that scores a model on the validation speakers; None where the recipe has no real recordings."""
    if not recipe.data.fsdd:
        return None
    voices: Voices = {}
    load_fsdd(root / recipe.data.fsdd, recipe.data.validation_speakers, voices)
    rng = np.random.default_rng([recipe.run.seed, 3])
    clean = [case for voice in voices["en"]["real"] for case in connected(voice, 40, (1, 8), rng)]
    rough = roughened(clean, rng)
    empty = nothing(rng, per_level=6)

    def validate(model: WhisperForConditionalGeneration) -> dict[str, float]:
        heard = transcripts(model, clean, detect=True)
        return {
            "wer": word_error_rate(clean, heard),
            "rough_wer": word_error_rate(rough, transcripts(model, rough)),
            "english": sum(language == "en" for language, _ in heard) / len(heard),
            "invented": float(sum(bool(words) for _, words in transcripts(model, empty))),
        }

    return validate
