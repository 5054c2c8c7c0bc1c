"""Converted models of the engine tests go to a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def openvino_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """LINNET_CACHE for all engine tests, so that each model is converted once."""
    folder = tmp_path_factory.mktemp("linnet-cache")
    before = os.environ.get("LINNET_CACHE")
    os.environ["LINNET_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["LINNET_CACHE"]
    else:
        os.environ["LINNET_CACHE"] = before
