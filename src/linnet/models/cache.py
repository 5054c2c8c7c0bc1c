"""The folder for data that Linnet can recreate or download again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """LINNET_CACHE, else `linnet` in the folder of Hugging Face's caches."""
    if named := os.environ.get("LINNET_CACHE", "").strip():
        return Path(named).expanduser()
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "linnet"
