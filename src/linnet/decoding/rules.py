"""Rules for the next token: each forbids tokens by setting their logits to minus infinity.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linnet.arrays import Array, namespace, on_cpu
from linnet.decoding.logits import logsumexp
from linnet.decoding.options import DecodingOptions
from linnet.models.vocabulary import WhisperVocabulary

FORBIDDEN = float("-inf")


class Rule(Protocol):
    """One condition on the next token."""

    def __call__(self, logits: Array, rows: Sequence[Sequence[int]]) -> None:
        """Set the logits [N, V] of forbidden tokens to -inf; `rows` are the tokens generated so far after the
        prefix."""
        ...


class Suppress:
    """Forbids these tokens."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: Array = list(tokens)

    def __call__(self, logits: Array, rows: Sequence[Sequence[int]]) -> None:  # noqa: ARG002 - the same for every row
        """See `Rule`."""
        if isinstance(self._tokens, list):
            xp = namespace(logits)
            self._tokens = xp.asarray(self._tokens, dtype=xp.int64, device=logits.device)
        logits[:, self._tokens] = FORBIDDEN


class SuppressAtBegin(Suppress):
    """Forbids these tokens as the first one."""

    def __call__(self, logits: Array, rows: Sequence[Sequence[int]]) -> None:
        """See `Rule`."""
        if not rows[0]:
            super().__call__(logits, rows)


class SuppressBefore(Suppress):
    """Forbids these tokens before the first `count` tokens are generated."""

    def __init__(self, tokens: Sequence[int], count: int) -> None:
        super().__init__(tokens)
        self._count = count

    def __call__(self, logits: Array, rows: Sequence[Sequence[int]]) -> None:
        """See `Rule`."""
        if len(rows[0]) < self._count:
            super().__call__(logits, rows)


class TimestampRules:
    """Timestamps come in pairs around text, never decrease, and are forced if their total probability exceeds that of
    any text token.

    The rules of Radford et al. 2022 (section 4.5 and its reference code), equal to
    `transformers.WhisperTimeStampLogitsProcessor`.
    """

    def __init__(self, *, begin: int, end_of_text: int, max_initial_index: int | None) -> None:
        self._begin, self._end_of_text, self._max_initial = begin, end_of_text, max_initial_index

    def __call__(self, logits: Array, rows: Sequence[Sequence[int]]) -> None:
        """See `Rule`."""
        begin = self._begin
        logits[:, begin - 1] = FORBIDDEN  # <|notimestamps|>
        for row, tokens in zip(logits, rows, strict=True):
            self._keep_order(row, tokens)
        if not rows[0]:
            logits[:, :begin] = FORBIDDEN
            if self._max_initial is not None:
                logits[:, begin + self._max_initial + 1 :] = FORBIDDEN
        xp = namespace(logits)
        likelier = logsumexp(logits[:, begin:]) > xp.max(logits[:, :begin], axis=-1)
        if on_cpu(logits):  # few rows per step: vectorizing does not pay
            logits[likelier, :begin] = FORBIDDEN
        else:
            logits[:, :begin].masked_fill_(likelier[:, None], FORBIDDEN)

    def _keep_order(self, row: Array, tokens: Sequence[int]) -> None:
        """Forbid tokens that break a pair or are earlier than the last timestamp, in one row of logits [V]."""
        last = next((token for token in reversed(tokens) if token >= self._begin), None)
        if last is None:
            return
        closes = tokens[-1] >= self._begin
        paired = closes and (len(tokens) < 2 or tokens[-2] >= self._begin)
        if paired:  # text must follow
            row[self._begin :] = FORBIDDEN
            return
        if closes:  # a timestamp or the end must follow
            row[: self._end_of_text] = FORBIDDEN
        row[self._begin : last + (0 if closes else 1)] = FORBIDDEN


def build_rules(vocabulary: WhisperVocabulary, options: DecodingOptions) -> list[Rule]:
    """The rules of a model and the options, in the order in which they apply."""
    rules: list[Rule] = []
    begin = vocabulary.begin_suppress if options.begin_suppress_tokens is None else options.begin_suppress_tokens
    always = vocabulary.suppress if options.suppress_tokens is None else options.suppress_tokens
    if begin:
        rules.append(SuppressAtBegin(begin))
    if always:
        rules.append(Suppress(always))
    if options.timestamps:
        initial = vocabulary.max_initial_timestamp_index
        if options.max_initial_timestamp is not None:
            initial = round(options.max_initial_timestamp / vocabulary.seconds_per_timestamp)
        rules.append(
            TimestampRules(begin=vocabulary.timestamp_begin, end_of_text=vocabulary.end, max_initial_index=initial)
        )
    return rules
