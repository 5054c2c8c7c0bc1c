"""Greedy decoding that starts from a guess: all of it is read in one pass, and its beginning that still holds is kept.

A stream's text hardly changes from one look to the next. What results is what plain greedy decoding gives, after fewer
steps (as by speculative decoding, Leviathan et al. 2023, https://arxiv.org/abs/2211.17192, of which the drafter is the
last look).

Shapes: K rows of logits, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from linnet.arrays import Array, namespace
from linnet.decoding.greedy import likeliest
from linnet.decoding.logits import logsumexp
from linnet.decoding.rules import FORBIDDEN
from linnet.engines.causal import CausalEngine
from linnet.errors import ModelError
from linnet.models.vocabulary import WhisperVocabulary


@dataclass(frozen=True)
class Draft:
    """A row: the tokens that stand, and those that may come after them.

    `start` is the place of <|startoftranscript|> in the prefix; `begun`: text precedes, so that what must not be said
    first may be said; `limit`: how many tokens, one or more, may follow the prefix; `least`: how many must.
    """

    prefix: tuple[int, ...]
    guess: tuple[int, ...]
    start: int
    begun: bool
    limit: int
    least: int = 0


@dataclass
class Continued:
    """What follows a row's prefix; `token_logprobs` are of the tokens and, where it `ended`, of the end."""

    tokens: list[int] = field(default_factory=list)
    token_logprobs: list[float] = field(default_factory=list)
    ended: bool = False
    no_speech: float = 0.0

    @property
    def avg_logprob(self) -> float:
        """Of a token, natural logarithm."""
        return sum(self.token_logprobs) / max(len(self.token_logprobs), 1)


class TextRules:
    """What a token of text without timestamps may be: as the model's own rules, but that no text at all is one too."""

    def __init__(self, vocabulary: WhisperVocabulary) -> None:
        self.end, self.no_speech = vocabulary.end, vocabulary.no_speech
        self._never = [token for token in vocabulary.suppress if token < self.end]
        self._not_first = [token for token in vocabulary.begin_suppress if token < self.end]

    def __call__(self, logits: Array, first: Sequence[int], early: Sequence[int]) -> None:
        """Write -inf into logits [K, V] where a token is forbidden.

        Rows `first` are of the first token of all, rows `early` of tokens before which the text must not end.
        """
        logits[:, self.end + 1 :] = FORBIDDEN
        if self._never:
            logits[:, self._never] = FORBIDDEN
        for row in first if self._not_first else ():
            logits[row, self._not_first] = FORBIDDEN
        for row in early:
            logits[row, self.end] = FORBIDDEN


def follow_drafts(engine: CausalEngine, state: Any, drafts: Sequence[Draft], rules: TextRules) -> list[Continued]:
    """Extend each row greedily, from what of its guess is the likeliest at each step, to the end or its limit.

    Raises `ModelError` where the model gives numbers without meaning.
    """
    found = [Continued() for _ in drafts]
    _read(engine, state, drafts, rules, found)
    while running := [row for row, one in enumerate(found) if not one.ended and len(one.tokens) < drafts[row].limit]:
        tokens = [found[row].tokens[-1:] if row in running else [] for row in range(len(drafts))]
        logits = engine.feed(state, tokens, [range(len(own)) for own in tokens])
        rules(logits, (), [at for at, row in enumerate(running) if len(found[row].tokens) < drafts[row].least])
        for row, token, gain in zip(running, *_best(logits), strict=True):
            _extend(found[row], token, gain, rules.end)
    return found


def _read(
    engine: CausalEngine, state: Any, drafts: Sequence[Draft], rules: TextRules, found: Sequence[Continued]
) -> None:
    """Read prefixes and guesses in one pass; each row gets what holds of its guess, and one token after it."""
    tokens = [[*draft.prefix, *draft.guess[: draft.limit - 1]] for draft in drafts]
    wanted = [[draft.start, *range(len(draft.prefix) - 1, len(own))] for draft, own in zip(drafts, tokens, strict=True)]
    logits = engine.feed(state, tokens, wanted)
    if not bool((logits < float("inf")).all()):  # false for NaN too
        raise ModelError(f"the model gives numbers without meaning on {engine.name}: load it again in float32")
    places = np.cumsum([0, *map(len, wanted)])[:-1].tolist()
    if rules.no_speech is not None:
        heads = logits[places]
        silence = namespace(logits).exp(heads[:, rules.no_speech] - logsumexp(heads)).tolist()
        for one, probability in zip(found, silence, strict=True):
            one.no_speech = probability
    rules(
        logits,
        [place + 1 for place, draft in zip(places, drafts, strict=True) if not draft.begun],
        [
            place + 1 + step
            for place, draft, own in zip(places, drafts, tokens, strict=True)
            for step in range(min(draft.least, len(own) - len(draft.prefix) + 1))
        ],
    )
    best, gains = _best(logits)
    for place, draft, one, own in zip(places, drafts, found, tokens, strict=True):
        guess = own[len(draft.prefix) :]
        for step in range(len(guess) + 1):
            _extend(one, best[place + 1 + step], gains[place + 1 + step], rules.end)
            if one.ended or (step < len(guess) and one.tokens[-1] != guess[step]):
                break
    # what was read and holds: the prefix, and the tokens but the newest, which no step has read yet
    state.columns.cut([len(d.prefix) + len(f.tokens) - (not f.ended) for d, f in zip(drafts, found, strict=True)])


def _best(logits: Array) -> tuple[list[int], list[float]]:
    """The likeliest token of each row [K, V], and its log-probability."""
    chosen = likeliest(logits)
    xp = namespace(logits)
    gains = xp.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0] - logsumexp(logits)
    return chosen.tolist(), gains.tolist()


def _extend(one: Continued, token: int, gain: float, end: int) -> None:
    one.token_logprobs.append(gain)
    one.ended = token == end
    if not one.ended:
        one.tokens.append(token)
