"""Validation and resampling of the audio sent to a stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from linnet.audio.stream import QUALITY, RATES
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import OptionError

_FULL = 32768.0  # of int16
_TOO_LOUD = 8.0  # beyond it, floats are unscaled integers


def checked(samples: Any) -> tuple[Samples, int]:
    """Convert mono samples [N] to float32; also return how many were NaN or infinite and replaced by silence.

    Accepts floats within -1 to 1 and int16, as arrays, lists or CPU tensors, also [N, 1] and [1, N]. Raises
    `OptionError` for anything else.
    """
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"a chunk must be an array of samples, got {type(samples).__name__} ({error})") from error
    if isinstance(samples, bytes | bytearray | memoryview):
        raise OptionError("a chunk must be an array of samples, got bytes: use np.frombuffer(chunk, np.int16)")
    if not array.ndim or array.dtype == object:
        raise OptionError(f"a chunk must be an array of samples, got {type(samples).__name__}")
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
        raise OptionError(f"samples must be floats within -1 to 1, or int16, got {array.dtype}: convert them first")
    finite = np.isfinite(array)
    damaged = len(array) - int(finite.sum())
    found = np.where(finite, array, 0.0) if damaged else array
    loudest = float(np.abs(found).max())
    if loudest > _TOO_LOUD:
        raise OptionError(f"float samples must lie within -1 to 1, got {loudest:.4g}: divide those of int16 by 32768")
    return found.astype(np.float32), damaged


def check_rate(rate: int) -> None:
    """Raise `OptionError` for an implausible sample rate."""
    if rate not in RATES:
        raise OptionError(f"sample rate must be from {RATES[0]} to {RATES[-1]} Hz, got {rate}")


class Resampler:
    """Resamples chunks of any length to 16 kHz, equal to resampling them at once."""

    def __init__(self, rate: int) -> None:
        """Raises `OptionError` for an implausible rate."""
        check_rate(rate)
        self._stream: Any = None
        if rate != SAMPLE_RATE:
            import soxr

            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", QUALITY)

    def push(self, chunk: Any) -> tuple[Samples, int]:
        """The samples of a chunk at 16 kHz, as far as available, and how many were invalid. See `checked`."""
        samples, damaged = checked(chunk)
        return (samples if self._stream is None else self._resampled(samples, last=False)), damaged

    def finish(self) -> Samples:
        """Return the remaining samples."""
        return np.zeros(0, np.float32) if self._stream is None else self._resampled(np.zeros(0, np.float32), last=True)

    def _resampled(self, samples: Samples, *, last: bool) -> Samples:
        found: Samples = self._stream.resample_chunk(samples, last=last)
        return found
