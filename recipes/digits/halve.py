"""Write a model folder with its weights in half precision, as `digits-stream` is shipped.

    python -m recipes.digits.halve runs/digits-stream/best --output src/linnet/models/embedded/digits-stream

The config goes on naming float32, so that Transformers loads them as such.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    shutil.copytree(options.model, options.output, dirs_exist_ok=True)
    halved = {name: value.half() for name, value in load_file(options.model / WEIGHTS).items()}
    save_file(halved, options.output / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
