"""What a causal model is trained for: the options that every causal recipe has."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.errors import OptionError
from linnet.settings import NOT_NEGATIVE, ONE_OR_MORE, SHARE, require


@dataclass(frozen=True)
class CausalOptions:
    """Blocks in encoder frames of 20 ms, times in seconds.

    A recording has a first block of at most `first_block` frames, then blocks from `shortest_block` to
    `longest_block`; validation and serving use `default_block`. `points` are the times of a recording at which the
    decoder is trained. A word counts as said `margin` seconds after its end, give or take up to `jitter`. A share
    `full_context` of the batches sees whole windows, as a model that is not causal does. `tail_pad` frames of silence
    follow the last sound, and `speech_peak` is what the running maximum of the features begins with. `sure` is the
    probability of each token of a word that is final at once, when it is first heard.
    """

    first_block: int = 30
    shortest_block: int = 5
    longest_block: int = 50
    default_block: int = 25
    points: int = 4
    margin: float = 0.1
    jitter: float = 0.04
    full_context: float = 0.15
    tail_pad: int = 25
    speech_peak: float = 1.5
    sure: float = 0.9

    def __post_init__(self) -> None:
        require(self, ONE_OR_MORE, "first_block", "shortest_block", "longest_block", "default_block", "points")
        require(self, NOT_NEGATIVE, "margin", "jitter", "tail_pad")
        require(self, SHARE, "full_context", "sure")
        if self.shortest_block > self.longest_block:
            raise OptionError(
                f"shortest_block ({self.shortest_block}) is above longest_block ({self.longest_block}): swap them."
            )
