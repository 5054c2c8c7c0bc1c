"""One hypothesis for each window: the likeliest token at each step, or a drawn one.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from linnet.decoding.hypothesis import Hypothesis, Primed, Search
from linnet.decoding.rules import Rule

MOST_RUNNING = 0.75  # of the rows of a batch: with fewer still running, taking the others out pays


class Picker(Protocol):
    """How the next tokens are chosen."""

    def __call__(self, logits: Tensor) -> Tensor:
        """One token for each row of logits [N, V]; returns [N]."""
        ...


def likeliest(logits: Tensor) -> Tensor:
    """The first of the largest; a `Picker`."""
    if logits.device.type == "cpu":  # on one thread NumPy takes a tenth of torch's time
        return torch.from_numpy(logits.numpy().argmax(-1))
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

    Rows that have ended leave the batch when enough have. Log-probabilities are those of the allowed tokens at
    temperature 1, as in Radford et al. 2022's reference code.
    """
    logits = primed.logits
    sequences = [_Sequence() for _ in range(logits.shape[0])]
    held = list(sequences)  # what each row of the state continues
    for length in range(1, search.limit + 1):
        for rule in rules:
            rule(logits, [sequence.tokens for sequence in held])
        chosen = pick(logits)
        gained = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(-1)
        for sequence, token, gain in zip(held, chosen.tolist(), gained.tolist(), strict=True):
            sequence.extend(token, gain, search.end)
        running = [row for row, sequence in enumerate(held) if not sequence.ended]
        if not running or length == search.limit:
            break
        if len(running) <= MOST_RUNNING * len(held) and primed.state.keep(running):
            held, chosen = [held[row] for row in running], chosen[running]
        logits = search.engine.step(primed.state, chosen[:, None])
    return [sequence.hypothesis() for sequence in sequences]


@dataclass
class _Sequence:
    """The tokens of one window; after its end it may be fed on with its like, which changes nothing in it."""

    tokens: list[int] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)  # of the tokens, and of the end
    ended: bool = False

    def extend(self, token: int, gain: float, end: int) -> None:
        if not self.ended:
            self.gains.append(gain)
            self.ended = token == end
            if not self.ended:
                self.tokens.append(token)

    def hypothesis(self) -> Hypothesis:
        gains = tuple(self.gains)
        return Hypothesis(tuple(self.tokens), sum(gains), len(gains), gains[: len(self.tokens)])
