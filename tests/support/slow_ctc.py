"""A slow forced alignment of CTC, cell by cell."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np


def slow_alignment(log_probabilities: np.ndarray, labels: Sequence[int], blank: int) -> list[tuple[int, int]]:
    """Each label's (first, end) frames on the likeliest CTC path that spells the labels, in float64."""
    states = [blank, *itertools.chain.from_iterable((label, blank) for label in labels)]
    frames = len(log_probabilities)
    best = np.full((frames, len(states)), -np.inf)
    back = np.zeros((frames, len(states)), int)
    best[0, :2] = log_probabilities[0, states[:2]]
    for frame in range(1, frames):
        for state, token in enumerate(states):
            origins = [state, state - 1]
            if state > 1 and token != blank and token != states[state - 2]:
                origins.append(state - 2)
            origins = [origin for origin in origins if origin >= 0]
            back[frame, state] = max(origins, key=lambda origin: best[frame - 1, origin])
            best[frame, state] = best[frame - 1, back[frame, state]] + log_probabilities[frame, token]
    state = int(np.argmax(best[-1, -2:])) + len(states) - 2
    indices = [state]
    for frame in range(frames - 1, 0, -1):
        state = int(back[frame, state])
        indices.append(state)
    indices.reverse()
    own = [[frame for frame, at in enumerate(indices) if at == 2 * index + 1] for index in range(len(labels))]
    return [(found[0], found[-1] + 1) for found in own]
