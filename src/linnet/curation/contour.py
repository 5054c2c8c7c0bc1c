"""The contour of a recording: how loud eight bands are in each frame. Copies have the same, whatever was done to them.

Two takes of one sentence differ in time; a copy that is louder, begins elsewhere, has a little noise or went through a
codec has the same rises and falls at the same distances.

Shapes: T frames of 20 ms, M mel bands, C = 8 bands of a contour, P pairs of recordings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from linnet.curation.ragged import Ragged

BANDS = 8
STEP_DB = 2.0
STEPS = 10  # 20 dB: what is softer may be noise
MOST_SHIFT = 12  # frames, a quarter of a second
_LOUD = 0.95  # of the frames with speech are softer than what counts as full
_SOFT = 1e-12  # power
_SIZES = np.sort(np.concatenate([2 ** np.arange(6, 40), 3 * 2 ** np.arange(5, 39)]))  # frames of a transform
_TOGETHER = 2**15  # frames of the pairs that are compared at once

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
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


def likeness(contours: Ragged, first: Integers, second: Integers) -> Numbers:
    """How alike pairs of recordings are [P]: their levels' correlation at the best shift, at most a quarter second.

    `first` and `second` [P] are rows of `contours`. 0 where one has no contour, or one that never changes.
    """
    lengths = contours.lengths
    sizes = _SIZES[np.searchsorted(_SIZES, np.maximum(lengths[first], lengths[second]) + MOST_SHIFT)]
    found = np.zeros(len(first))
    for size in np.unique(sizes).tolist():
        mine = np.flatnonzero(sizes == size)
        for at in range(0, len(mine), step := max(1, _TOGETHER // size)):
            pairs = mine[at : at + step]
            found[pairs] = _alike(contours, first[pairs], second[pairs], size)
    return found


def _alike(contours: Ragged, first: Integers, second: Integers, size: int) -> Numbers:
    """The likeness of pairs [P] by Fourier transforms of `size`, in which no shift reaches around the end."""
    rows, back = np.unique(np.concatenate([first, second]), return_inverse=True)
    some = contours.select(rows)
    lengths, owner = some.lengths, some.rows
    place = np.arange(len(owner)) - some.offsets[:-1][owner]
    steps = _steps(some.values)
    centered = np.zeros((len(rows), size, BANDS), np.float32)
    centered[owner, place] = steps
    means = centered.sum(axis=1) / np.maximum(lengths, 1).astype(np.float32)[:, None]
    centered[owner, place] = steps - means[owner]
    norms = np.sqrt(np.einsum("rtc,rtc->r", centered, centered, dtype=np.float64))
    spectra = fft.rfft(centered, axis=1)
    one, other = back[: len(first)], back[len(first) :]
    swapped = lengths[one] < lengths[other]
    long, short = np.where(swapped, other, one), np.where(swapped, one, other)
    product = np.einsum("pfc,pfc->pf", spectra[long], spectra[short].conj())
    shift = np.arange(size)
    last = lengths[long] - lengths[short] + MOST_SHIFT
    allowed = (shift <= last[:, None]) | (shift >= size - MOST_SHIFT)
    best = np.where(allowed, fft.irfft(product, size, axis=1), -np.inf).max(axis=1)
    scale = norms[long] * norms[short]
    return np.where(scale > 0, best / np.maximum(scale, _SOFT), 0.0)


def _steps(found: Contour) -> Floats:
    """The levels [T, C] of a contour."""
    return ((found[:, None] >> _places()) & np.uint32(15)).astype(np.float32)


def _places() -> NDArray[np.uint32]:
    return (4 * np.arange(BANDS)).astype(np.uint32)
