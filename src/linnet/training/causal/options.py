"""Options of causal training that are stored with the model."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.errors import OptionError
from linnet.settings import NOT_NEGATIVE, ONE_OR_MORE, SHARE, require


@dataclass(frozen=True)
class CausalOptions:
    """Blocks in encoder frames of 20 ms, times in seconds.

    A recording has a first block of at most `first_block` frames, then blocks from `shortest_block` to
    `longest_block`; validation and inference use `default_block`. `points` is the number of times per recording at
    which the decoder is trained. A word is expected `margin` seconds after its end, plus or minus up to `jitter`. A
    share `full_context` of the batches uses whole windows without a causal mask. `tail_pad` frames of silence follow
    the end of the audio, and `speech_peak` is the initial running maximum of the features. `sure` is the minimum
    probability of each token of a word that becomes final when it is first decoded. `right_context` is for inference
    alone: newer blocks are encoded again with the next one, until so many frames have followed them.
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
    right_context: int = 48

    def __post_init__(self) -> None:
        require(self, ONE_OR_MORE, "first_block", "shortest_block", "longest_block", "default_block", "points")
        require(self, NOT_NEGATIVE, "margin", "jitter", "tail_pad", "right_context")
        require(self, SHARE, "full_context", "sure")
        if self.shortest_block > self.longest_block:
            raise OptionError(
                f"shortest_block ({self.shortest_block}) is above longest_block ({self.longest_block}): swap them."
            )


@dataclass(frozen=True)
class Imitation:
    """What is learned from the model as it was before training, which hears whole windows.

    `frames` is the weight of the distance of encoder frames from its frames. `words` is the share of the loss of words
    that is the divergence from its predictions instead of the cross-entropy; the end of the text is always learned from
    the word times. In the share `first` of the steps, at the start, only the frames are learned.
    """

    frames: float = 0.0
    words: float = 0.0
    first: float = 0.0

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "frames")
        require(self, SHARE, "words", "first")
        if self.first and not self.frames:
            raise OptionError("imitation: `first` is the share of steps that learn frames alone: give `frames`, too.")

    def __bool__(self) -> bool:
        """Whether a teacher is needed."""
        return self.frames > 0 or self.words > 0
