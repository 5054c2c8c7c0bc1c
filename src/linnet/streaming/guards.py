"""Guards against hallucinated words in silence and noise, and against repetition loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from linnet.streaming.protocol import Hypothesis

LEAST_SPEECH = 0.16  # seconds of confident speech before anything is decoded
LITTLE = 1.5  # seconds of speech that may be a cough, a laugh or music
SURE = -0.5  # average log-probability above which words are accepted however little speech was detected
UNSURE, MAYBE_SILENCE, IMPROBABLE = -0.7, 0.3, -1.2  # thresholds where little speech was detected
SILENCE, UNLIKELY = 0.6, -1.0  # no-speech thresholds (Radford et al. 2022, section 4.5)
REPETITIVE = 2.4  # compression ratio
LONGEST_LOOP = 12  # tokens of a repeating unit
REPEATS, REPEATS_OF_FEW = 4, 8  # repetitions; spoken numbers legitimately repeat a digit
FEW = 3  # tokens


def is_credible(hypothesis: Hypothesis, avg_logprob: float, speech: float) -> bool:
    """Whether a segment's first words may become final; `speech` is the seconds of confident speech in it.

    As for recordings, words are dropped only if both voice activity and the model's own confidence reject them.
    """
    if hypothesis.compression_ratio > REPETITIVE:
        return False
    if avg_logprob > SURE:
        return hypothesis.no_speech_prob < SILENCE or speech >= LITTLE
    if hypothesis.no_speech_prob > SILENCE and avg_logprob < UNLIKELY:
        return False
    if speech < LITTLE:
        return not (avg_logprob < IMPROBABLE or (hypothesis.no_speech_prob > MAYBE_SILENCE and avg_logprob < UNSURE))
    return True


def cut_loop(committed: Sequence[int], hypothesis: Hypothesis) -> Hypothesis | None:
    """Remove the repetitions of a loop from the hypothesis; None if it contains no loop.

    A unit of up to 12 tokens repeated four times in a row (eight times for one or two tokens) is a loop; its first
    repetitions may be `committed`.
    """
    tokens = [*committed, *hypothesis.tokens]
    found = _loop(tokens)
    if found is None:
        return None
    first, size = found
    keep = max(first + size - len(committed), 0)
    words = tuple(word for word in hypothesis.words if word.indices[-1] < keep)
    kept = 0 if not words else words[-1].indices[-1] + 1
    return replace(
        hypothesis,
        tokens=hypothesis.tokens[:kept],
        token_logprobs=hypothesis.token_logprobs[:kept],
        words=words,
        ended=False,
    )


def _loop(tokens: Sequence[int]) -> tuple[int, int] | None:
    """Start and length of the unit that repeats at the end of `tokens`."""
    for size in range(1, LONGEST_LOOP + 1):
        last = tokens[-size:]
        rounds = 1
        while len(tokens) >= size * (rounds + 1) and tokens[-size * (rounds + 1) : -size * rounds] == last:
            rounds += 1
        if rounds >= (REPEATS_OF_FEW if size < FEW else REPEATS):
            return len(tokens) - size * rounds, size
    return None
