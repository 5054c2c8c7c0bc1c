"""What runs here: versions, for reports and for whatever must be found again; and on how many threads."""

from __future__ import annotations

import threading
from functools import cache
from importlib import metadata
from typing import Any


def versions(*packages: str) -> dict[str, str]:
    """The versions of installed packages, none of which is imported.

    Raises `importlib.metadata.PackageNotFoundError` for one that is not installed.
    """
    return {package: _version(package) for package in packages}


@cache
def _version(package: str) -> str:
    return metadata.version(package)


class _OneBlasThread:
    """See `one_blas_thread`: a limit of the whole process, so it is counted who holds it."""

    def __init__(self) -> None:
        self._lock, self._holders = threading.Lock(), 0
        self._limit: Any = None

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            if not self._holders:
                self._limit = threadpool_limits(1, "blas")
            self._holders += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()
"""NumPy's products on one thread, inside a `with` block, also of several threads at once.

After a product OpenBLAS's threads spin for a while, on cores that a model's own threads need.
"""
