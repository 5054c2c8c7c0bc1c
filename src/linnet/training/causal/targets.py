"""Decoder targets at a point in time: the words that have ended, then the end token.

Shapes: N tokens of an utterance, L positions of a decoder row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.training.batch import IGNORED


@dataclass(frozen=True, eq=False)
class CausalExample:
    """One training recording of a causal model.

    `prefix` is the decoder prefix. `tokens` [N] are those of the spoken words, and `ends` [N] the seconds at which the
    word of each token ends; words cut off by the samples are omitted. Without tokens it is silence or noise.
    """

    samples: Samples
    prefix: tuple[int, ...]
    tokens: tuple[int, ...] = ()
    ends: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """The length of the recording."""
        return len(self.samples) / SAMPLE_RATE


def count_ended(ends: Sequence[float] | NDArray[np.float64], time: float) -> int:
    """Count the leading tokens whose words have ended at `time`; a token never precedes earlier ones.

    >>> count_ended([0.5, 0.5, 1.2, 1.0, 2.0], 1.1), count_ended([0.5, 0.5, 1.2, 1.0, 2.0], 1.2)
    (2, 4)
    """
    reached = np.maximum.accumulate(np.asarray(ends, np.float64)) if len(ends) else np.zeros(0)
    return int(np.searchsorted(reached, time + 1e-9, side="right"))


def decoder_row(prefix: Sequence[int], tokens: Sequence[int], end: int) -> tuple[list[int], list[int]]:
    """Build decoder input and labels [L] for `tokens` that have ended, followed by the `end` token.

    >>> decoder_row([1, 2], [7, 8], 0)
    ([1, 2, 7, 8], [-100, 7, 8, 0])
    """
    return [*prefix, *tokens], [IGNORED] * (len(prefix) - 1) + [*tokens, end]


def from_middle(
    example: CausalExample, starts: Sequence[float], previous: int, rng: np.random.Generator, *, most: int = 12
) -> CausalExample:
    """Cut a recording at a random pause between words, with up to `most` tokens of the preceding text as prompt.

    `starts` [N] are the seconds at which the word of each token starts, `previous` is the token <|startofprev|>. A
    recording without a pause between words is unchanged.
    """
    places = [place for place in range(1, len(starts)) if starts[place] >= max(example.ends[:place])]
    if not places:
        return example
    place = int(rng.choice(places))
    cut = round(float(rng.uniform(max(example.ends[:place]), starts[place])) * SAMPLE_RATE)
    prompt = example.tokens[max(place - int(rng.integers(1, most + 1)), 0) : place]
    return CausalExample(
        example.samples[cut:],
        (previous, *prompt, *example.prefix),
        example.tokens[place:],
        tuple(end - cut / SAMPLE_RATE for end in example.ends[place:]),
    )
