"""Real Whisper weights for tests that need them; where there are none, those tests are skipped with the reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

from linnet.models import hub
from linnet.models.cache import cache_folder

FOLDERS = "LINNET_TEST_WEIGHTS"  # names a folder that holds the folders tiny.en and base
USER_CACHE = "LINNET_TEST_USER_CACHE"  # what LINNET_CACHE was before conftest.py took it for the tests


def require_weights(name: Literal["tiny.en", "base"]) -> Path:
    """The Transformers folder of OpenAI's Whisper `tiny.en` or `base`; skips the test where it is not on this disk."""
    folder = find_weights(name)
    if folder is None:
        pytest.skip(
            f"the weights of Whisper {name} are not on this disk: `make weights` fetches them, "
            f"or let {FOLDERS} name a folder that holds the model folder {name}"
        )
    return folder


def find_weights(name: str) -> Path | None:
    """The folder that LINNET_TEST_WEIGHTS holds, else what `make weights` put into the user's caches, else None."""
    if named := os.environ.get(FOLDERS, "").strip():
        folder = Path(named).expanduser() / name
        return folder if (folder / "model.safetensors").is_file() else None
    folder = _user_cache() / "models" / f"openai--whisper-{name}"
    return folder if (folder / "model.safetensors").is_file() else hub.cached(f"openai/whisper-{name}")


def _user_cache() -> Path:
    named = os.environ.get(USER_CACHE, "").strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNET_CACHE", named)  # empty: the default place
        return cache_folder()


def require_language_model() -> Path:
    """The folder of SmolLM2-135M-Instruct from the package index; skips the test where it is not on this disk."""
    folder = _user_cache() / "models" / "HuggingFaceTB--SmolLM2-135M-Instruct"
    if not (folder / "model.safetensors").is_file():
        pytest.skip("SmolLM2 is not on this disk: linnet models pull smollm2-135m-instruct --from index")
    return folder
