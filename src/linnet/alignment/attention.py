"""Where the decoder looks while it writes each word: rows of attention as weights over time.

Shapes: N words, H heads, L rows of attention, P encoder positions (20 ms), T frames (10 ms).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnet.alignment.dtw import Floats

TRAIL = 5.0  # frames in which what attention looks at fades: a decoder looks at a word's beginning, not at its end
_SINK_ROWS = 6  # from here on, what most rows look at is no word's own place


def look(attention: Floats, rows: Sequence[Sequence[int]], positions: int) -> Floats:
    """Where each word is looked at: [N, positions], a row summing to 1 at most, to 0 where it looks at nothing.

    `attention` [H, L, P] is cut to the positions of the true sound and made to sum to 1 again, row by row, so that
    padding draws nothing. Where there are rows enough (6 words), each head's median over the words, what all look at
    whatever they say, is taken off. A word's row is the mean over heads and its own `rows`.
    """
    cut = attention[..., :positions]
    cut = cut / np.maximum(cut.sum(-1, keepdims=True), 1e-9)
    words = np.stack([cut[:, list(own)].mean(1) for own in rows], 1)  # [H, N, positions]
    if len(rows) >= _SINK_ROWS:
        words = np.maximum(words - np.median(words, 1, keepdims=True), 0.0)
    mean: Floats = words.mean(0)
    return mean


def spread(looked: Floats, frames: int, lag: int = 0) -> Floats:
    """Attention over positions [N, P] as attention over frames [N, T], fading over 50 ms after where it looks.

    `lag`: frames by which the decoder looks too late (below 0: too early); attention that would fall before the audio
    goes to its first frame.
    """
    early = max(-lag, 0)
    lag = max(lag, 0)
    late = np.pad(np.repeat(looked, 2, axis=1) / 2, ((0, 0), (early, frames + lag)))[:, : frames + lag]
    mass = late[:, lag:].copy()
    mass[:, :1] += late[:, :lag].sum(1, keepdims=True)
    fading = np.exp(-np.arange(8 * TRAIL) / TRAIL)
    faded: Floats = np.stack([np.convolve(row, fading / fading.sum())[:frames] for row in mass])
    return faded
