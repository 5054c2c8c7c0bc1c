"""The decoder's cross-attention for each word, as weights over time.

Shapes: N words, H heads, L rows of attention, P encoder frames (20 ms), T frames (10 ms).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnet.alignment.dtw import Floats

TRAIL = 5.0  # frames of decay: a decoder attends to the beginning of a word, not to its end
_SINK_ROWS = 6  # from this number of words on, what most rows attend to is not specific to a word


def word_attention(attention: Floats, rows: Sequence[Sequence[int]], positions: int) -> Floats:
    """The attention of each word, [N, positions]; a row sums to at most 1, to 0 without attention.

    `attention` [H, L, P] is cut to the positions of the audio without padding and normalized row by row. With enough
    words (6), each head's median over the words, which is not specific to a word, is subtracted. A word's row is the
    mean over heads and its own `rows`.
    """
    cut = attention[..., :positions]
    cut = cut / np.maximum(cut.sum(-1, keepdims=True), 1e-9)
    words = np.stack([cut[:, list(own)].mean(1) for own in rows], 1)  # [H, N, positions]
    if len(rows) >= _SINK_ROWS:
        words = np.maximum(words - np.median(words, 1, keepdims=True), 0.0)
    mean: Floats = words.mean(0)
    return mean


def smear(looked: Floats, frames: int, lag: int = 0) -> Floats:
    """Attention over positions [N, P] as attention over frames [N, T], decaying over 50 ms after each position.

    `lag`: frames by which the decoder attends too late (below 0: too early); attention before the start of the audio
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
