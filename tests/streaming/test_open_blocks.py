"""What a causal model has not heard yet, because its block is open, counts as not heard."""

from __future__ import annotations

from typing import Any

import numpy as np

from linnet.alignment.words import TimedWord
from linnet.streaming.options import CommitTiming, StreamOptions
from linnet.streaming.policies import build_policy
from linnet.streaming.protocol import Hypothesis
from linnet.streaming.segment import Segment

WORDS = (
    TimedWord(" one", 0.0, 0.2, 0.5, interpolated=False, indices=(0,)),
    TimedWord(" two", 0.2, 0.4, 0.5, interpolated=False, indices=(1,)),
)


class Deaf:
    """A model that is not asked."""

    def add_audio(self, memory: Any, samples: np.ndarray) -> None:
        """Take samples."""


def hypothesis(until: float | None) -> Hypothesis:
    return Hypothesis((7, 8), (-0.7, -0.7), WORDS, ended=True, until=until)


def segment() -> Segment:
    made: Any = Segment(0, Deaf(), build_policy(StreamOptions(), CommitTiming(delay=0.0, patience=0.0)), None, 10.0)
    return made


def look(one: Segment, seconds: float, until: float | None, silence: float = 0.0) -> int:
    """How many words are final after so much more audio."""
    one.add_audio(np.zeros(round(seconds * 16000), np.float32))
    one.query(final=False)
    return one.take(hypothesis(until), silence).final


def test_the_same_block_heard_twice_is_no_agreement():
    one = segment()
    assert look(one, 0.7, 0.6) == 0
    assert look(one, 0.4, 0.6) == 0
    assert look(one, 0.1, 1.1) == 1  # the last word may be cut
    whole = segment()
    assert look(whole, 0.7, None) == 0
    assert look(whole, 0.4, None) == 1


def test_a_pause_that_was_not_heard_is_no_pause():
    one = segment()
    assert look(one, 0.9, 0.4, silence=0.5) == 0
    assert look(one, 0.3, 1.2, silence=0.8) == 2
