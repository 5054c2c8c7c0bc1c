"""The same code for NumPy arrays and PyTorch tensors, with the names of the array API standard.

Decoding on OpenVINO never imports PyTorch, which takes a second; decoding on a GPU never leaves it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any  # a NumPy array or a PyTorch tensor


def namespace(array: Array) -> Any:
    """The functions for an array, with the names of https://data-apis.org/array-api.

    >>> namespace(np.ones(3)).sum(np.ones(3)).item()
    3.0
    """
    if isinstance(array, np.ndarray):
        return np
    from array_api_compat import array_namespace

    return array_namespace(array)


def on_cpu(array: Array) -> bool:
    """Whether the values are in the CPU's memory."""
    return isinstance(array, np.ndarray) or str(array.device) == "cpu"


def to_numpy(array: Array) -> NDArray[Any]:
    """The values as a NumPy array, from any device.

    >>> to_numpy(np.ones(2))
    array([1., 1.])
    """
    return array if isinstance(array, np.ndarray) else np.asarray(array.detach().cpu())


def one_thread() -> AbstractContextManager[Any]:
    """A context in which NumPy's products run on one thread.

    After each product OpenBLAS's threads wait for the next one by spinning, on cores that an engine's threads need: on
    two busy cores this made the products of word times 100 times slower. PyTorch's BLAS is not affected.

    >>> with one_thread():
    ...     (np.ones((2, 2)) @ np.ones((2, 2))).tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    block: AbstractContextManager[Any] = _own_blas().limit(limits=1)
    return block


@cache
def _own_blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(prefix="libscipy_openblas")  # its name in NumPy's wheels
