"""Beam search: the k likeliest hypotheses of each window, extended together.

Shapes: B windows, k beams, N = B x k rows (a window's adjacent), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from linnet.arrays import Array, namespace
from linnet.decoding.hypothesis import DecoderStart, Hypothesis, Search
from linnet.decoding.logits import best, logsumexp
from linnet.decoding.rules import Rule


@dataclass
class _Window:
    """The beams of one window: tokens and scores of those that run, best first, and the best that ended."""

    beams: int
    length_penalty: float
    tokens: list[list[int]]
    scores: list[float]
    token_logprobs: list[list[float]] = field(default_factory=lambda: [[]])  # per token
    ended: list[tuple[float, Hypothesis]] = field(default_factory=list)
    done: bool = False

    def advance(self, candidates: Sequence[tuple[float, int, int]], end: int, *, last: bool) -> list[int]:
        """Take (score, beam, token) candidates, best first; returns which beam each new beam continues.

        Only the best k candidates may end. The window is done when it has k ended hypotheses and the likeliest
        running one, at its present length, is worse than all of them: `early_stopping=False` of Transformers.
        """
        running: list[tuple[float, int, int]] = []
        for rank, (score, beam, token) in enumerate(candidates):
            if (token == end or last) and rank < self.beams:
                self._end([*self.tokens[beam], token], score, self._token_logprobs(score, beam), end)
            if token != end:
                running.append((score, beam, token))
        running = running[: self.beams]
        self.tokens = [[*self.tokens[beam], token] for _, beam, token in running]
        self.token_logprobs = [self._token_logprobs(score, beam) for score, beam, _ in running]
        self.scores = [score for score, _, _ in running]
        reachable = self.scores[0] / len(self.tokens[0]) ** self.length_penalty
        self.done = len(self.ended) == self.beams and reachable <= self.ended[-1][0]
        return [beam for _, beam, _ in running]

    def _token_logprobs(self, score: float, beam: int) -> list[float]:
        return [*self.token_logprobs[beam], score - self.scores[beam]]

    def _end(self, tokens: list[int], score: float, token_logprobs: list[float], end: int) -> None:
        kept = tuple(tokens[:-1]) if tokens[-1] == end else tuple(tokens)
        rank = score / len(tokens) ** self.length_penalty
        self.ended.append((rank, Hypothesis(kept, score, len(tokens), tuple(token_logprobs[: len(kept)]))))
        self.ended.sort(key=lambda pair: -pair[0])
        del self.ended[self.beams :]


def beam_search(
    search: Search, primed: DecoderStart, rules: Sequence[Rule], *, beams: int, length_penalty: float
) -> list[Hypothesis]:
    """The best hypothesis of each window by log-probability / tokens ** length_penalty.

    The same search as Transformers' `generate` with `num_beams`, where log-probabilities are of the whole
    vocabulary: forbidding tokens makes the others no likelier.
    """
    logits = primed.logits  # [B, V] at the first step, then [N, V]
    batch, width = logits.shape[0], min(beams, logits.shape[1] // 2)
    windows = [_Window(width, length_penalty, [[]], [0.0]) for _ in range(batch)]
    for step in range(search.limit):
        candidates = _candidates(logits, windows, rules, 2 * width)
        origins: list[int] = []
        for index, (window, offered) in enumerate(zip(windows, candidates, strict=True)):
            first = index * len(logits) // batch
            last = step == search.limit - 1
            kept = range(len(window.tokens)) if window.done else window.advance(offered, search.end, last=last)
            origins += [first + beam for beam in kept]
        if all(window.done for window in windows) or step == search.limit - 1:
            break
        if origins != list(range(len(logits))):
            primed.state.reorder(origins)
        newest = [[tokens[-1]] for window in windows for tokens in window.tokens]
        logits = search.engine.step(primed.state, np.array(newest))
    return [window.ended[0][1] for window in windows]


def _candidates(
    logits: Array, windows: Sequence[_Window], rules: Sequence[Rule], count: int
) -> list[list[tuple[float, int, int]]]:
    """For each window its `count` best (score, beam, token), best first."""
    rows = [tokens for window in windows for tokens in window.tokens]
    xp = namespace(logits)
    log_probabilities = logits - logsumexp(logits)[:, None]
    for rule in rules:
        rule(log_probabilities, rows)
    scores = [score for window in windows for score in window.scores]
    size = logits.shape[1]
    totals = log_probabilities + xp.asarray(scores, dtype=logits.dtype, device=logits.device)[:, None]
    return [
        [(score, place // size, place % size) for score, place in zip(*pair, strict=True)]
        for pair in zip(*best(xp.reshape(totals, (len(windows), -1)), count), strict=True)
    ]
