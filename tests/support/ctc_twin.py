"""The CTC loss, slowly."""

from __future__ import annotations

import numpy as np


def twin(told: np.ndarray, spelling: list[int]) -> float:
    """-log of the summed chances of all paths, by the forward recursion (Graves et al. 2006, 4.1) in float64."""
    chances = np.exp(told.astype(np.float64))
    wide = [0, *(x for character in spelling for x in (character, 0))]
    at = np.zeros(len(wide))
    at[:2] = chances[0, wide[:2]]
    for frame in chances[1:]:
        before, at = at, np.zeros(len(wide))
        for place, character in enumerate(wide):
            at[place] = before[place] + (before[place - 1] if place else 0)
            if place > 1 and character and character != wide[place - 2]:
                at[place] += before[place - 2]
            at[place] *= frame[character]
    return float(-np.log(at[-2:].sum()))
