"""Run the fused attention in Triton's interpreter, on the CPU, and print how far it is from a float64 twin, as JSON.

A program of its own, for Triton takes TRITON_INTERPRET from the environment when it is imported.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor

from linnet.engines.torch.fused_attention import attend

CASES = {  # windows, heads, positions, width of queries, width of values, keys shared, values shared
    "both shared, odd ranks": (2, 4, 70, 24, 40, True, True),
    "keys shared, several blocks": (1, 3, 130, 16, 8, True, False),
    "values shared, one block": (2, 2, 9, 64, 48, False, True),
}


def twin(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax(Q K') V in float64, score by score."""
    scores = query.double() @ key.double().transpose(2, 3) * scale
    return torch.softmax(scores, -1) @ value.double()


def error(case: str, dtype: torch.dtype) -> float:
    """The largest difference from the twin, of its largest number."""
    batch, heads, positions, width, values, *shared = CASES[case]
    generator = torch.Generator().manual_seed(0)

    def random(channels: int, *, alike: bool) -> Tensor:
        made = torch.randn(batch, 1 if alike else heads, positions, channels, generator=generator).to(dtype)
        return made.expand(-1, heads, -1, -1)

    query, key, value = random(width, alike=False), random(width, alike=shared[0]), random(values, alike=shared[1])
    want = twin(query, key, value, 0.3)
    got = attend(query, key, value, scale=0.3)
    assert got.dtype == dtype
    assert got.shape == want.shape
    return float((got.double() - want).abs().max() / want.abs().max())


if __name__ == "__main__":
    kinds = {"float32": torch.float32, "float16": torch.float16}
    json.dump({f"{case}, {name}": error(case, dtype) for case in CASES for name, dtype in kinds.items()}, sys.stdout)
