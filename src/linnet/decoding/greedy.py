"""One hypothesis for each window: the likeliest token at each step, or a drawn one.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from linnet.decoding.hypothesis import Hypothesis, Primed, Search
from linnet.decoding.rules import Rule


class Picker(Protocol):
    """How the next tokens are chosen."""

    def __call__(self, logits: Tensor) -> Tensor:
        """One token for each row of logits [N, V]; returns [N]."""
        ...


def likeliest(logits: Tensor) -> Tensor:
    """The first of the largest; a `Picker`."""
    return logits.argmax(-1)


class Sampler:
    """Draws from softmax(logits / temperature); a `Picker`.

    Every row is decided by the same random number of its step, so that a window's tokens depend on the seed, the
    temperature and the window alone, never on what else is in the batch.
    """

    def __init__(self, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(hash((seed, temperature)) & 0x7FFFFFFF)

    def __call__(self, logits: Tensor) -> Tensor:
        """See `Picker`."""
        draw = torch.rand((), generator=self._generator, dtype=torch.float64).item()
        cumulative = (logits.double() / self._temperature).softmax(-1).cumsum(-1)
        wanted = cumulative[:, -1:] * draw
        return torch.searchsorted(cumulative, wanted, right=True).squeeze(-1)


def follow(search: Search, primed: Primed, rules: Sequence[Rule], pick: Picker = likeliest) -> list[Hypothesis]:
    """Extend each row by picked tokens until <|endoftext|> or the limit.

    Log-probabilities are those of the allowed tokens at temperature 1, as in Radford et al. 2022's reference code.
    """
    logits = primed.logits
    rows: list[list[int]] = [[] for _ in range(logits.shape[0])]
    gains: list[list[float]] = [[] for _ in rows]
    open_rows = [True] * len(rows)
    while True:
        for rule in rules:
            rule(logits, rows)
        chosen = pick(logits)
        gained = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(-1)
        for row, (token, gain) in enumerate(zip(chosen.tolist(), gained.tolist(), strict=True)):
            if open_rows[row]:
                gains[row].append(gain)
            rows[row].append(token if open_rows[row] else search.end)
            open_rows[row] = open_rows[row] and token != search.end
        if not any(open_rows) or len(rows[0]) == search.limit:
            break
        logits = search.engine.step(primed.state, chosen[:, None])
    return [_finish(row, own, search.end) for row, own in zip(rows, gains, strict=True)]


def _finish(row: list[int], gains: list[float], end: int) -> Hypothesis:
    length = row.index(end) if end in row else len(row)
    return Hypothesis(tuple(row[:length]), sum(gains), len(gains), tuple(gains[:length]))
