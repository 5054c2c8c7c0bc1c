"""Silence that fills a window up, held in few encoder frames instead of up to 1,500.

Whisper was trained on windows of 30 s: a clip of 8 s is followed by 22 s of silence, and where that is left out, words
are invented. But what an encoder makes of silence hardly differs from place to place. So of every `STRIDE` positions of
padding one stands for all, and counts as so many in every attention: log(count) is added to its score, exactly what
`count` equal keys would give. Only the positions' own embeddings are coarser. The sound itself, and a margin after it,
keep a position of 20 ms each.

Shapes: P positions of a whole window, K positions that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDE = 16  # positions of padding that one stands for
MARGIN = 50  # positions after the sound that stay as they are: its end is heard against silence
STEP = 250  # K is a multiple of it: each new length costs an engine the making of its kernels
FRAMES_PER_POSITION = 2
BEST_SHARE = 2 / 3  # of a window's positions: attention makes a full window dearer by the second than this one


@dataclass(frozen=True)
class Layout:
    """Which positions are kept, and what is added to attention scores over them.

    `indices` [K], int64, rising; `bias` [K], float32: the logarithm of how many positions each stands for.
    """

    indices: NDArray[np.int64]
    bias: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)


def full_layout(positions: int) -> Layout:
    """Every position for itself."""
    return Layout(np.arange(positions), np.zeros(positions, np.float32))


def condense(positions: int, sound: int) -> Layout:
    """The layout of a window of `positions` of which the first `sound` mel frames hold sound.

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
    """Mel frames of sound in a window of `positions` that is heard at the least cost by the second; None: all of it.

    An encoder's time grows faster than its positions: of Whisper base 1,500 take 300 to 360 ms, 1,000 163, 750 111 (two
    Xeon cores). Below two thirds windows of speech are cut more often and packed less full, and tiny gains nothing.

    >>> best_sound(1500), len(condense(1500, 1832)), len(condense(1500, 1833))
    (1832, 1000, 1250)
    """
    length = int(BEST_SHARE * positions) // STEP * STEP
    kept = (STRIDE * length - positions) // (STRIDE - 1)
    return (kept - MARGIN) * FRAMES_PER_POSITION if kept > MARGIN else None
