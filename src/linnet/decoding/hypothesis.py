"""The result of a search, and the initial state that all searches share.

Shapes: N rows, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnet.arrays import Array, namespace
from linnet.decoding.logits import logsumexp
from linnet.engines.protocol import EncoderOutput, Engine, State
from linnet.errors import ModelError


@dataclass(frozen=True)
class Hypothesis:
    """One finished sequence: its tokens without prefix and end, and the sum of log-probabilities including the end."""

    tokens: tuple[int, ...]
    log_probability: float
    count: int  # tokens in the sum
    token_logprobs: tuple[float, ...] = ()  # log-probability of each token

    @property
    def avg_logprob(self) -> float:
        """The mean per token, natural logarithm."""
        return self.log_probability / max(self.count, 1)


@dataclass(frozen=True)
class Search:
    """What every search needs: the model's end token and the maximum number of tokens after the prefix."""

    engine: Engine
    end: int
    limit: int


@dataclass(frozen=True)
class DecoderStart:
    """The state after the prefix, its next logits [N, V], and each window's no-speech probability."""

    state: State
    logits: Array
    no_speech: tuple[float, ...]


def prime(
    engine: Engine,
    encoded: EncoderOutput,
    prefixes: Sequence[Sequence[int]],
    *,
    start: int,
    no_speech: int | None,
    max_length: int,
) -> DecoderStart:
    """Feed each window its prefix, all of one length; `start` is the position of <|startoftranscript|> in them.

    The no-speech probability is that of `no_speech` right after <|startoftranscript|>, over the whole vocabulary, so
    the prefix is fed in two parts.
    """
    tokens = np.array(prefixes, np.int64)
    state = engine.start(encoded, max_length=max_length)
    logits = engine.step(state, tokens[:, : start + 1])
    silence = (0.0,) * encoded.batch
    if no_speech is not None:
        xp = namespace(logits)
        silence = tuple(xp.exp(logits[:, no_speech] - logsumexp(logits)).tolist())
    if tokens.shape[1] > start + 1:
        logits = engine.step(state, tokens[:, start + 1 :])
    if not bool((logits < float("inf")).all()):  # false for NaN too
        raise ModelError(
            f"the model computes NaN or infinity on {engine.name}: try compute type float32, or load it again"
        )
    return DecoderStart(state, logits, silence)
