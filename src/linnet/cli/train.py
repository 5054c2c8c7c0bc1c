"""`linnet train`: a recipe becomes a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from linnet.errors import MissingExtra


def train(
    recipe: Path = typer.Argument(..., help="A YAML recipe such as recipes/digits.yaml."),
) -> None:
    """Train a model from a recipe; the same command goes on with a run that was broken off.

    The log goes to stderr as one JSON object per line (and to log.jsonl in the run's folder), the folder of the
    finished model to stdout.
    """
    try:
        import accelerate  # noqa: F401
        import yaml  # noqa: F401
    except ImportError:
        raise MissingExtra("training", extra="train") from None
    from linnet.training.recipe import read_recipe
    from linnet.training.run import run_recipe

    output = Path(read_recipe(recipe).run.output)
    for row in run_recipe(recipe):
        print(json.dumps(row), file=sys.stderr, flush=True)
    print(output / "model")
