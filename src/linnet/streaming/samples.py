"""What a stream may be given as audio, and what becomes of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from linnet.audio.types import Samples
from linnet.errors import OptionError

_FULL = 32768.0  # of int16
_TOO_LOUD = 8.0  # floats beyond are integers that were not divided


def checked(samples: Any) -> tuple[Samples, int]:
    """Mono samples [N] as float32, and how many of them were no numbers and are silence now.

    Takes floats within -1 to 1 and int16, as arrays, lists or tensors of the CPU, also [N, 1] and [1, N]. Raises
    `OptionError` for anything else.
    """
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"a chunk must be an array of samples, got {type(samples).__name__}") from error
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise OptionError(
            f"a chunk must be mono samples [N], got the shape {list(array.shape)}: mix the channels first"
        )
    if not len(array):
        return np.zeros(0, np.float32), 0
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(_FULL), 0
    if array.dtype.kind != "f":
        raise OptionError(f"samples must be floats within -1 to 1, or int16, got {array.dtype}: convert them")
    finite = np.isfinite(array)
    damaged = len(array) - int(finite.sum())
    found: Samples = (np.where(finite, array, 0.0) if damaged else array).astype(np.float32)
    loudest = float(np.abs(found).max())
    if loudest > _TOO_LOUD:
        raise OptionError(f"float samples must lie within -1 to 1, got {loudest:.4g}: divide those of int16 by 32768")
    return found, damaged
