"""Random blocks of a recording, and the times at which its decoder is trained.

Shapes: P encoder frames (20 ms), K points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linnet.models.causal import block_ends
from linnet.training.causal.options import CausalOptions

Rng = np.random.Generator
_WHOLE_FIRST, _EVEN = 0.6, 0.5  # shares: of full first blocks, of recordings whose blocks are all of one length


def random_blocks(rng: Rng, frames: int, options: CausalOptions) -> list[int]:
    """Lengths of blocks that cover `frames`: the first one, then all of one length, or each of its own.

    Short blocks are as frequent as long ones by the time that they cover, so that there are more of them.
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
    """A length from `shortest` to `longest`, uniform on a logarithmic scale."""
    return int(np.clip(np.exp(rng.uniform(np.log(shortest), np.log(longest + 1))), shortest, longest))


def recording_ends(frames: int, blocks: list[int], padded: int) -> NDArray[np.int64]:
    """The ends [padded] of the blocks of a recording's `frames`, which end with it; its padding sees all."""
    ends = np.full(padded, padded, np.int64)
    ends[:frames] = block_ends(frames, blocks)
    return ends


def random_points(rng: Rng, ends: NDArray[np.int64], count: int) -> list[int]:
    """Up to `count` different block ends of a recording [P], its last one among them, in order."""
    borders = np.unique(ends)
    chosen = rng.permutation(borders[:-1])[: count - 1]
    return sorted([*map(int, chosen), int(borders[-1])])
