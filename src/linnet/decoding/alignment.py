"""Dynamic time warping of words over sound, with silences between them.

Plain DTW of attention (as in OpenAI's Whisper) has no place for silence: a word lasts until the next one begins, and
where both begin between two sharp peaks is left to chance. Here the path may rest between words. It gains what the
attention of a word's own row puts inside its span, and what the sound itself says of speech and silence there. The
weights were tuned on FSDD's training and validation speakers (`benchmarks/word_times.py`).

Shapes: N words, H heads, L rows of attention, P encoder frames (20 ms), T frames (10 ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Frames = NDArray[np.int64]

ATTENTION_WEIGHT = 40.0  # all of a word's attention counts as much as 0.4 s of clear sound
TOUCH_COST = 0.5  # of going from word to word without a pause, and more where the sound is loud
SHORTEST = 3  # frames of a word
TRAIL = 5.0  # frames in which what attention looks at fades: a decoder looks at a word's beginning, not at its end
REACH = (40, 80)  # frames before and after what a word's attention looks at that it covers freely
STRETCH_COST = 2.5  # of each frame beyond: what is heard there is rather a word that was missed, or music
_SINK_ROWS = 6  # from here on, what most rows look at is no word's own place
_NEVER = -1e18


def align_words(mass: Floats, score: Floats, level: Floats) -> list[tuple[int, int]] | None:
    """The best [begin, end) frames of N words, in order and without overlap; None where they do not fit.

    `mass` [N, T] is how much each word's attention looks at each frame (a row sums to at most 1); `score` [T], from -1
    to 1, is positive in sound and negative in silence; `level` [T] is its loudness. A path gains 40 * mass + score in a
    frame inside a word and -score between words. Where two words touch it pays 0.5 and the lower level of the two
    frames there, and for each frame of a word over 0.4 s before or 0.8 s after the middle 80 % of its attention 2.5. A
    word has at least 3 frames. This is the exact optimum, found word by word with running maxima over time, in O(N T).
    """
    count, frames = mass.shape
    if not count or frames < count * SHORTEST:
        return None if count else []
    between = np.concatenate([[0.0], np.cumsum(-score)])  # gain of silence up to each border between frames
    padded = np.pad(level, 1, mode="edge")
    touch = TOUCH_COST + np.minimum(padded[:-1], padded[1:])
    time = np.arange(frames + 1)
    free, begins, ends, rests = between, [], [], time
    for row in mass:
        gained = score + ATTENTION_WEIGHT * row - STRETCH_COST * _out_of_reach(row)
        inside = np.concatenate([[0.0], np.cumsum(gained)])
        best, begin = _running_maximum(free - inside)
        ended = np.full(frames + 1, _NEVER)
        ended[SHORTEST:] = best[:-SHORTEST] + inside[SHORTEST:]
        begins.append(_later(begin, SHORTEST, 0))
        rested, rests = _running_maximum(ended - between)
        paused, touching = _later(rested, 1, _NEVER) + between, ended - touch
        free = np.maximum(paused, touching)
        ends.append(np.where(paused > touching, _later(rests, 1, 0), time))
    return _trace(begins, ends, int(rests[-1]))


def _out_of_reach(row: Floats) -> NDArray[np.bool_]:
    """Which frames [T] a word whose attention is `row` [T] should not last to; none where it looks at nothing."""
    seen, frame = np.cumsum(row), np.arange(len(row))
    first, last = np.searchsorted(seen, [0.1 * seen[-1], 0.9 * seen[-1]])
    far: NDArray[np.bool_] = ((frame < first - REACH[0]) | (frame > last + REACH[1])) & bool(seen[-1] > 0.0)
    return far


def _later(values: NDArray[Any], by: int, fill: float) -> NDArray[Any]:
    return np.concatenate([np.full(by, fill, values.dtype), values[:-by]])


def _running_maximum(values: Floats) -> tuple[Floats, Frames]:
    """The largest value so far, and where it (of equals, the last) stands."""
    largest = np.maximum.accumulate(values)
    return largest, np.maximum.accumulate(np.where(values >= largest, np.arange(len(values)), 0))


def _trace(begins: Sequence[Frames], ends: Sequence[Frames], end: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for index in range(len(begins) - 1, -1, -1):
        begin = int(begins[index][end])
        spans.append((begin, end))
        end = int(ends[index - 1][begin]) if index else begin
    return spans[::-1]


def word_attention(attention: Floats, rows: Sequence[Sequence[int]], positions: int) -> Floats:
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


def smear(looked: Floats, frames: int, lag: int = 0) -> Floats:
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


def interpolate(weights: Sequence[float], start: float, end: float) -> list[tuple[float, float]]:
    """Divide the time from start to end among words, each by its weight (its characters).

    >>> interpolate([1, 3], 1.0, 2.0)
    [(1.0, 1.25), (1.25, 2.0)]
    """
    total = sum(weights) or 1.0
    borders = np.interp(np.cumsum([0.0, *weights]), (0.0, total), (start, end))  # which ends at `end` to the last bit
    return list(pairwise(borders.tolist()))
