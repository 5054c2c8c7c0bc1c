"""What all tests share: no network, and the recordings beside the project where they are there."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import pytest

from tests.support.places import ROOT, SHARED

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has what the process has set that started it
    os.environ.setdefault("LINNET_TEST_USER_CACHE", os.environ.get("LINNET_CACHE", ""))  # real_weights.py looks there
    for name in [name for name in os.environ if name.startswith("LINNET_") and not name.startswith("LINNET_TEST_")]:
        del os.environ[name]
    _CACHE = tempfile.TemporaryDirectory(prefix="linnet-tests-")
    os.environ["LINNET_CACHE"] = _CACHE.name  # converted models: once for all tests, and none of the user's

for name in [name for name in os.environ if name.startswith("PIP_")]:  # nor a package index of anybody's
    del os.environ[name]
os.environ.update(PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end: each full garbage collection would walk over all of it anew."""
    gc.collect()
    gc.freeze()


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the recordings ../shared/data/{name} are not beside this checkout")
    return path


@pytest.fixture(scope="session")
def clips() -> Path:
    """Real recordings of several formats."""
    return _shared("clips")


@pytest.fixture(scope="session")
def fsdd() -> Path:
    """Real isolated digits of six speakers."""
    return _shared("fsdd") / "recordings"


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up speech for recipes/digits."""
    from tests.support.digits_bank import make_bank

    return make_bank(tmp_path_factory.mktemp("speech") / "bank")


@pytest.fixture(scope="session")
def whisper_tokenizer() -> Path:
    """The public multilingual Whisper tokenizer and processor."""
    return _shared("whisper-tokenizer")


@pytest.fixture(scope="session")
def faults() -> Path:
    """Real recordings that went wrong."""
    return _shared("faults")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
