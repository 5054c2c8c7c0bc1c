"""Condense the silence that pads a window to few encoder frames instead of up to 1,500.

Whisper was trained on windows of 30 s: a clip of 8 s is followed by 22 s of silence, and without it, words are
hallucinated. But the encoding of silence hardly depends on its position. So one of every `STRIDE` padding positions
represents all of them: log(count) is added to its attention scores, exactly the effect of `count` equal keys. Only the
position embeddings are coarser. The audio and a margin after it keep a position per 20 ms.

Shapes: P positions of a whole window, K positions that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDE = 16  # padding positions that one position represents
MARGIN = 50  # positions after the audio that are kept: its end needs silence as context
STEP = 250  # K is a multiple of it, since an engine builds kernels for each new length
FRAMES_PER_POSITION = 2
BEST_SHARE = 2 / 3  # share of a window's positions: attention makes a full window more expensive per second


@dataclass(frozen=True)
class Layout:
    """The kept positions and their attention bias.

    `indices` [K], int64, increasing; `bias` [K], float32: the logarithm of the number of positions that each
    represents.
    """

    indices: NDArray[np.int64]
    bias: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)


def full_layout(positions: int) -> Layout:
    """The layout that keeps every position."""
    return Layout(np.arange(positions), np.zeros(positions, np.float32))


def condense(positions: int, sound: int) -> Layout:
    """The layout of a window of `positions` whose first `sound` mel frames are not padding.

    >>> layout = condense(1500, 800)
    >>> len(layout), layout.indices[:3].tolist(), round(np.exp(layout.bias).sum().item())
    (750, [0, 1, 2], 1500)
    """
    kept = -(-sound // FRAMES_PER_POSITION) + MARGIN
    groups = -(-max(positions - kept, 0) // STRIDE)
    length = -(-(kept + groups) // STEP) * STEP
    if length >= positions:
        return full_layout(positions)
    single = length - groups  # at least `kept`
    edges = np.linspace(single, positions, groups + 1).round().astype(np.int64)
    indices = np.concatenate([np.arange(single), (edges[:-1] + edges[1:]) // 2])
    counts = np.concatenate([np.ones(single), np.diff(edges)])
    return Layout(indices, np.log(counts).astype(np.float32))


def best_sound(positions: int) -> int | None:
    """Mel frames of audio in a window of `positions` with the least cost per second; None: a full window.

    An encoder's time grows faster than its positions: for Whisper base 1,500 take 300 to 360 ms, 1,000 163, 750 111
    (two Xeon cores). Below two thirds, speech is split more often and windows are less full, and tiny gains nothing.

    >>> best_sound(1500), len(condense(1500, 1832)), len(condense(1500, 1833))
    (1832, 1000, 1250)
    """
    length = int(BEST_SHARE * positions) // STEP * STEP
    kept = (STRIDE * length - positions) // (STRIDE - 1)
    return (kept - MARGIN) * FRAMES_PER_POSITION if kept > MARGIN else None
