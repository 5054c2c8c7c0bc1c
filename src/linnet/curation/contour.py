"""The contour of a recording: how loud eight bands are in each frame. Copies have the same, whatever was done to them.

Two takes of one sentence differ in time; a copy that is louder, begins elsewhere, has a little noise or went through a
codec has the same rises and falls at the same distances.

Shapes: T frames of 20 ms, M mel bands, C = 8 bands of a contour, S shifts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BANDS = 8
STEP_DB = 2.0
STEPS = 10  # 20 dB: what is softer may be noise
MOST_SHIFT = 12  # frames, a quarter of a second
_LOUD = 0.95  # of the frames with speech are softer than what counts as full
_SOFT = 1e-12  # power

Floats = NDArray[np.float32]
Contour = NDArray[np.uint32]


def contour(bands: Floats, speech: NDArray[np.bool_]) -> Contour:
    """The contour [T] of band powers [T, M]: eight levels of 4 bits in one number, from 0 (20 dB below loud) to 10.

    Each band is set beside its own loud frames among those with speech [T], so that gain and timbre do not matter.
    There is none where nothing is spoken.
    """
    if not speech.any():
        return np.zeros(0, np.uint32)
    width = bands.shape[1] // BANDS
    power = bands[:, : BANDS * width].reshape(len(bands), BANDS, width).sum(axis=2)
    level = 10.0 * np.log10(power + _SOFT)
    loud = np.quantile(level[speech], _LOUD, axis=0)
    steps = np.rint((level - loud) / STEP_DB).clip(-STEPS, 0) + STEPS
    found: Contour = (steps.astype(np.uint32) << _places()).sum(axis=1, dtype=np.uint32)
    return found


def levels(found: Contour) -> Floats:
    """The levels [T, C] of a contour, the mean of each band taken off."""
    steps = ((found[:, None] >> _places()) & np.uint32(15)).astype(np.float32)
    centered: Floats = steps - steps.mean(axis=0) if len(steps) else steps
    return centered


def likeness(one: Floats, other: Floats) -> float:
    """How alike two recordings' `levels` [T, C] are: their correlation at the best shift, at most a quarter second."""
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    size = float(np.linalg.norm(long)) * float(np.linalg.norm(short))
    if not len(short) or size == 0.0:
        return 0.0
    padded = np.pad(long, ((MOST_SHIFT, MOST_SHIFT + len(short)), (0, 0)))
    shifts = len(long) - len(short) + 2 * MOST_SHIFT + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded.ravel(), short.size)[:: short.shape[1]][:shifts]
    return float((windows @ short.ravel()).max()) / size


def _places() -> NDArray[np.uint32]:
    return (4 * np.arange(BANDS)).astype(np.uint32)
