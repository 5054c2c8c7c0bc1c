"""NumPy arrays and PyTorch tensors by the same code: the names that both know are those of the array API standard.

What decodes on OpenVINO never imports PyTorch, which takes a second; what decodes on a GPU never leaves it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any  # of NumPy, or a tensor of PyTorch


def namespace(array: Array) -> Any:
    """The functions for such an array, as https://data-apis.org/array-api names them.

    >>> namespace(np.ones(3)).sum(np.ones(3)).item()
    3.0
    """
    if isinstance(array, np.ndarray):
        return np
    from array_api_compat import array_namespace

    return array_namespace(array)


def on_cpu(array: Array) -> bool:
    """Whether the numbers are in the CPU's memory."""
    return isinstance(array, np.ndarray) or str(array.device) == "cpu"


def to_numpy(array: Array) -> NDArray[Any]:
    """The numbers as a NumPy array, from wherever they are.

    >>> to_numpy(np.ones(2))
    array([1., 1.])
    """
    return array if isinstance(array, np.ndarray) else np.asarray(array.detach().cpu())


def one_thread() -> AbstractContextManager[Any]:
    """A `with` block in which NumPy's own products are made on one thread.

    After each product OpenBLAS's threads wait for the next one by spinning, on cores that an engine's threads need: on
    two busy cores that made the products of word times 100 times slower. A BLAS of PyTorch's is left as it is.

    >>> with one_thread():
    ...     (np.ones((2, 2)) @ np.ones((2, 2))).tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    block: AbstractContextManager[Any] = _own_blas().limit(limits=1)
    return block


@cache
def _own_blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(prefix="libscipy_openblas")  # as NumPy's wheels call it
