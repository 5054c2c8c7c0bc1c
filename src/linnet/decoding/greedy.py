"""One hypothesis per window: the most probable token at each step, or a sampled one.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from linnet.arrays import Array, namespace, on_cpu
from linnet.decoding.hypothesis import DecoderStart, Hypothesis, Search
from linnet.decoding.logits import logsumexp, softmax
from linnet.decoding.rules import Rule

MOST_RUNNING = 0.75  # share of running rows below which it pays to remove the finished ones from the batch


class Picker(Protocol):
    """Chooses the next tokens."""

    def __call__(self, logits: Array) -> Array:
        """One token per row of logits [N, V]; returns [N]."""
        ...


def likeliest(logits: Array) -> Array:
    """The most probable token (of equals, the first); a `Picker`."""
    if not on_cpu(logits):
        return logits.argmax(-1)
    xp = namespace(logits)
    return xp.asarray(np.asarray(logits).argmax(-1))  # on one thread NumPy is ten times as fast as PyTorch


class Sampler:
    """Samples from softmax(logits / temperature); a `Picker`.

    All rows use the same random number per step, so a window's tokens depend only on the seed, the temperature and the
    window, not on the rest of the batch.
    """

    def __init__(self, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._generator = np.random.default_rng(hash((seed, temperature)) & 0x7FFFFFFF)

    def __call__(self, logits: Array) -> Array:
        """See `Picker`."""
        xp = namespace(logits)
        cumulative = softmax(xp.astype(logits, xp.float64) / self._temperature).cumsum(-1)
        return xp.sum(xp.astype(cumulative <= cumulative[:, -1:] * self._generator.random(), xp.int64), axis=-1)


def follow(search: Search, primed: DecoderStart, rules: Sequence[Rule], pick: Picker = likeliest) -> list[Hypothesis]:
    """Extend each row by picked tokens until <|endoftext|> or the limit.

    Finished rows leave the batch once there are enough of them. Log-probabilities are those of the allowed tokens at
    temperature 1, as in Radford et al. 2022's reference code.
    """
    logits = primed.logits
    xp = namespace(logits)
    sequences = [_Sequence() for _ in range(logits.shape[0])]
    held = list(sequences)  # the sequence that each row of the state continues
    for length in range(1, search.limit + 1):
        for rule in rules:
            rule(logits, [sequence.tokens for sequence in held])
        chosen = pick(logits)
        gained = xp.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0] - logsumexp(logits)
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
    """The tokens of one window; after its end, further tokens are ignored."""

    tokens: list[int] = field(default_factory=list)
    token_logprobs: list[float] = field(default_factory=list)  # of the tokens and of the end
    ended: bool = False

    def extend(self, token: int, gain: float, end: int) -> None:
        if not self.ended:
            self.token_logprobs.append(gain)
            self.ended = token == end
            if not self.ended:
                self.tokens.append(token)

    def hypothesis(self) -> Hypothesis:
        token_logprobs = tuple(self.token_logprobs)
        return Hypothesis(
            tuple(self.tokens), sum(token_logprobs), len(token_logprobs), token_logprobs[: len(self.tokens)]
        )
