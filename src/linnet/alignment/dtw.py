"""Dynamic time warping of words to audio, with silences between them.

Plain DTW of attention (as in OpenAI's Whisper) has no silence: a word lasts until the next one begins, and the boundary
between two sharp peaks is arbitrary. Here the path may pause between words. It scores the attention of a word inside
its span, and the evidence of speech and silence in the audio. The weights were tuned on FSDD's training and validation
speakers (`benchmarks/word_times.py`).

Shapes: N words, T frames (10 ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Frames = NDArray[np.int64]

ATTENTION_WEIGHT = 40.0  # a word's whole attention counts as much as 0.4 s of clear speech
TOUCH_COST = 0.5  # cost of going from word to word without a pause, and more where the audio is loud
SHORTEST = 3  # minimum frames per word
REACH = (40, 80)  # frames before and after its attention that a word may cover at no cost
STRETCH_COST = 2.5  # cost of each frame beyond: more likely a missed word, or music
_NEVER = -1e18


def align_words(mass: Floats, score: Floats, level: Floats) -> list[tuple[int, int]] | None:
    """The best [start, end) frames of N words, in order and without overlap; None if they do not fit.

    `mass` [N, T] is each word's attention per frame (a row sums to at most 1); `score` [T], from -1 to 1, is positive
    in speech and negative in silence; `level` [T] is the loudness. A path gains 40 * mass + score in a frame inside a
    word and -score between words. Where two words touch it pays 0.5 and the lower level of the two frames there, and
    for each frame of a word over 0.4 s before or 0.8 s after the middle 80 % of its attention 2.5. A word has at least
    3 frames. This is the exact optimum, found word by word with running maxima over time, in O(N T).
    """
    count, frames = mass.shape
    if not count or frames < count * SHORTEST:
        return None if count else []
    between = np.concatenate([[0.0], np.cumsum(-score)])  # score of silence up to each boundary between frames
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
    """The frames [T] that are too far from a word with attention `row` [T]; none without attention."""
    seen, frame = np.cumsum(row), np.arange(len(row))
    first, last = np.searchsorted(seen, [0.1 * seen[-1], 0.9 * seen[-1]])
    far: NDArray[np.bool_] = ((frame < first - REACH[0]) | (frame > last + REACH[1])) & bool(seen[-1] > 0.0)
    return far


def _later(values: NDArray[Any], by: int, fill: float) -> NDArray[Any]:
    return np.concatenate([np.full(by, fill, values.dtype), values[:-by]])


def _running_maximum(values: Floats) -> tuple[Floats, Frames]:
    """The running maximum and its index (of equals, the last)."""
    largest = np.maximum.accumulate(values)
    return largest, np.maximum.accumulate(np.where(values >= largest, np.arange(len(values)), 0))


def _trace(begins: Sequence[Frames], ends: Sequence[Frames], end: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for index in range(len(begins) - 1, -1, -1):
        begin = int(begins[index][end])
        spans.append((begin, end))
        end = int(ends[index - 1][begin]) if index else begin
    return spans[::-1]
