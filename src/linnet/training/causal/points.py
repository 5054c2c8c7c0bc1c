"""Random blocks of a recording, and the points in time at which its decoder is trained.

Shapes: P encoder frames (20 ms), K points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linnet.models.causal import block_ends
from linnet.training.causal.options import CausalOptions

Rng = np.random.Generator
_WHOLE_FIRST, _EVEN = 0.6, 0.5  # shares of full first blocks, and of recordings with blocks of equal length


def random_blocks(rng: Rng, frames: int, options: CausalOptions) -> list[int]:
    """Draw lengths of blocks that cover `frames`: the first, then blocks of one length or of random lengths.

    Lengths are log-uniform, so there are more short blocks.
    """
    shortest, longest = options.shortest_block, options.longest_block
    first = options.first_block
    if rng.random() >= _WHOLE_FIRST:
        first = int(rng.integers(min(shortest, first), first + 1))
    if rng.random() < _EVEN:
        return [first, _length(rng, shortest, longest)]
    blocks = [first]
    while sum(blocks) < frames:
        blocks.append(_length(rng, shortest, longest))
    return blocks


def _length(rng: Rng, shortest: int, longest: int) -> int:
    """Draw a length from `shortest` to `longest`, log-uniformly."""
    return int(np.clip(np.exp(rng.uniform(np.log(shortest), np.log(longest + 1))), shortest, longest))


def recording_ends(frames: int, blocks: list[int], padded: int) -> NDArray[np.int64]:
    """Block ends [padded] of the `frames` of a recording; padding frames attend to everything."""
    ends = np.full(padded, padded, np.int64)
    ends[:frames] = block_ends(frames, blocks)
    return ends


def random_points(rng: Rng, ends: NDArray[np.int64], count: int) -> list[int]:
    """Draw up to `count` different block ends of a recording [P], including the last, in order."""
    borders = np.unique(ends)
    chosen = rng.permutation(borders[:-1])[: count - 1]
    return sorted([*map(int, chosen), int(borders[-1])])
