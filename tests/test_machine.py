"""What reports say of the versions that made them, and NumPy on one thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError

import pytest
import threadpoolctl
import torch
import transformers

import linnet
from linnet.machine import one_blas_thread, versions


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


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"}


def test_numpy_has_one_thread_until_the_last_block_ends() -> None:
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = blas_threads()
        inside: list[set[int]] = []

        def work() -> None:
            for _ in range(20):
                with one_blas_thread:
                    inside.append(blas_threads())

        with pytest.raises(ZeroDivisionError), one_blas_thread:
            raise ZeroDivisionError
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert inside == [{1}] * 80
        assert blas_threads() == before == {2}
