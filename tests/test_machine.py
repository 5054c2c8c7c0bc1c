"""What reports say of the versions that made them, and of the machine."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
import torch
import transformers

import linnet
from linnet.machine import hardware, peak_memory, show_bytes, usable_cores, versions, working_dtypes


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


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.0 MB"),
        (40e6, "40.0 MB"),
        (999_960_000, "1.00 GB"),
        (2.5e12, "2500.00 GB"),
    ],
)
def test_bytes_for_people(count: float, shown: str) -> None:
    assert show_bytes(count) == shown


def test_this_machine() -> None:
    assert usable_cores() >= 1
    assert hardware("cpu").endswith(f", {usable_cores()} cores")
    assert hardware("remote") == "remote"
    assert "float32" in working_dtypes(torch.device("cpu"))
    assert (peak_memory() or 2**26) > 2**20
