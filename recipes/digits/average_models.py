"""Average the weights of model folders of one shape, as the shipped `digits` is the mean of its last two stages.

    python -m recipes.digits.average_models runs/digits-refine/model runs/digits-finish/model --output build/digits

Everything but the weights is copied from the last folder.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def main() -> None:
    """Write the averaged folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    weights = [load_file(folder / WEIGHTS) for folder in options.models]
    if any(one.keys() != weights[0].keys() for one in weights):
        raise SystemExit("the models have not the same parts: they must come from one recipe's shape")
    shutil.copytree(options.models[-1], options.output, dirs_exist_ok=True)
    mean = {name: torch.stack([one[name] for one in weights]).mean(0) for name in weights[0]}
    save_file(mean, options.output / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
