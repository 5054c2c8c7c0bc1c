"""The folder of a run, and the disk space that it needs."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from linnet.errors import OutputError
from linnet.files import restore_folder
from linnet.machine import show_bytes, versions
from linnet.training.options import Recipe
from linnet.training.trainer import Trainer
from linnet.training.weights import trained


def open_folder(trainer: Trainer) -> None:
    """Prepare a run's folder: repair what a kill left, and write the recipe with its defaults and versions.

    Raises `OutputError` where the disk has no space for the checkpoints.
    """
    folder = trainer.folder
    for name in ("best", "model"):
        restore_folder(folder / name)
    _require_room(trainer)
    folder.mkdir(parents=True, exist_ok=True)
    made_by = versions("linnet", "torch", "transformers")
    content = {**asdict(trainer.recipe), "versions": made_by}
    (folder / "recipe.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def result_folder(recipe: Recipe) -> Path:
    """The folder of a finished run's model: the one with the lowest error rate, or the last without validation."""
    best = Path(recipe.run.output) / "best"
    return best if best.is_dir() else Path(recipe.run.output) / "model"


def _require_room(trainer: Trainer) -> None:
    """Raise an `OutputError` where the disk has no space for the run's checkpoints."""
    folder = trainer.folder
    weights = sum(value.numel() * value.element_size() for value in trained(trainer.loss).values())
    copies = 3 + bool(trainer.average)  # weights, and AdamW's two moments
    needed = weights * copies * (trainer.recipe.run.keep + 1)
    at = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(at).free
    if free < needed:
        raise OutputError(
            f"{folder}: the checkpoints need {show_bytes(needed)}, and {show_bytes(free)} are free: delete files, keep "
            "fewer (`keep`), or choose another `output`."
        )
