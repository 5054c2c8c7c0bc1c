from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import save_bases, tone_corpus


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick() -> Iterator[None]:
    """Tiny models are fastest on one thread: `pytestmark = pytest.mark.usefixtures("quick")`."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random encoder and language model."""
    return save_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 24 tones."""
    return tone_corpus(tmp_path_factory.mktemp("corpus"))
