"""What keeps a stream from words that nobody said: silence, noise and loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from linnet.streaming.protocol import Hypothesis

LEAST_SPEECH = 0.16  # seconds of sure speech before anything is decoded
LITTLE = 1.5  # seconds of speech that may as well be a cry, a laugh or a chord
SURE = -0.5  # average log-probability of words that are believed wherever they are
UNSURE, MAYBE_SILENCE, IMPROBABLE = -0.7, 0.3, -1.2  # where little speech was found: below, above, and below
SILENCE, UNLIKELY = 0.6, -1.0  # no speech, by the model itself (Radford et al. 2022, section 4.5)
REPETITIVE = 2.4  # compression ratio
LONGEST_LOOP = 12  # tokens that may repeat as one
REPEATS, REPEATS_OF_FEW = 4, 8  # times: who says a number may well say one digit four times
FEW = 3  # tokens


def is_credible(heard: Hypothesis, avg_logprob: float, speech: float) -> bool:
    """Whether a segment's first words may become final; `speech` is how many seconds of sure speech it has.

    As in whole recordings two witnesses must agree before words are dropped: the sound and the model's own doubt.
    """
    if heard.compression_ratio > REPETITIVE:
        return False
    if avg_logprob > SURE:
        return heard.no_speech_prob < SILENCE or speech >= LITTLE
    if heard.no_speech_prob > SILENCE and avg_logprob < UNLIKELY:
        return False
    if speech < LITTLE:
        return not (avg_logprob < IMPROBABLE or (heard.no_speech_prob > MAYBE_SILENCE and avg_logprob < UNSURE))
    return True


def cut_loop(committed: Sequence[int], heard: Hypothesis) -> Hypothesis | None:
    """The hypothesis without the repeats of a loop in it; None where it does not go round in one.

    Up to 12 tokens that stand four times in a row (eight times, if they are one or two) are a loop; some of its first
    rounds may be `committed`.
    """
    tokens = [*committed, *heard.tokens]
    found = _loop(tokens)
    if found is None:
        return None
    first, size = found
    keep = max(first + size - len(committed), 0)
    words = tuple(word for word in heard.words if word.indices[-1] < keep)
    kept = 0 if not words else words[-1].indices[-1] + 1
    return replace(
        heard, tokens=heard.tokens[:kept], token_logprobs=heard.token_logprobs[:kept], words=words, ended=False
    )


def _loop(tokens: Sequence[int]) -> tuple[int, int] | None:
    """Where tokens begin to repeat at the end, and how many do."""
    for size in range(1, LONGEST_LOOP + 1):
        last = tokens[-size:]
        rounds = 1
        while len(tokens) >= size * (rounds + 1) and tokens[-size * (rounds + 1) : -size * rounds] == last:
            rounds += 1
        if rounds >= (REPEATS_OF_FEW if size < FEW else REPEATS):
            return len(tokens) - size * rounds, size
    return None
