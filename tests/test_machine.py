"""What reports say of the versions that made them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
import torch
import transformers

import linnet
from linnet.machine import versions


def test_the_versions_are_those_that_the_packages_tell() -> None:
    assert versions("linnet", "torch", "transformers") == {
        "linnet": linnet.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    with pytest.raises(PackageNotFoundError, match="no-such-package"):
        versions("no-such-package")


def test_nothing_is_imported_for_them() -> None:
    code = "import sys; from linnet.machine import versions; versions('torch'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
