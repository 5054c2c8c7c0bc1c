"""Words against the speech that was found: what is too few, what is too many, and what lies in no segment."""

from __future__ import annotations

import pytest

from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import FRAME, Frames, Region, RegionFinder, Sensitivity
from linnet.transcription.coverage import (
    Pace,
    amount,
    is_crowded,
    is_stretched,
    is_thin,
    may_skip,
    speech_between,
    uncovered,
)
from linnet.transcription.transcript import Segment, Word


def regions(*times: tuple[float, float]) -> list[Region]:
    return [Region(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) for start, end in times]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0.0),
        ("one two three", 3.0),
        ("internationalization", 20 / 6),
        ("漢字仮名交", 3.0),
        ("カタカナ test", 3.4),
    ],
)
def test_the_amount_of_text_is_counted_in_words_of_usual_length(text: str, words: float) -> None:
    assert amount(text) == pytest.approx(words)


def test_speech_between_two_times() -> None:
    found = regions((0, 2), (3, 4), (6, 9))
    assert speech_between(found, 1.0, 7.0) == pytest.approx(1 + 1 + 1)
    assert speech_between(found, 4.0, 6.0) == 0.0


def test_six_words_in_six_seconds_of_speech_are_too_few_and_fifteen_are_not() -> None:
    """The segment of a real recording in which tiny.en skipped a sentence, with the regions found there."""
    found = regions((12.1, 17.7), (18.8, 21.5), (22.4, 23.8))
    skipped = Segment(16.16, 23.76, "telling us what he had been.")
    assert is_thin(skipped, found)
    whole = "telling us what he had been. The stillness was awful creepy and uncomfortable. He asked himself"
    assert not is_thin(Segment(16.16, 23.76, whole), found)


def test_a_rate_far_below_the_recordings_own_is_suspicious() -> None:
    """Two sentences were said at a usual pace, 3.5 words a second, and one of them was written."""
    pace, found = Pace(), regions((0, 6), (7, 13), (20, 24), (25, 37.8))
    assert pace.least == 1.4
    said = [Segment(start, end, "words " * count) for start, end, count in ((0, 6, 21), (7, 13, 18), (20, 24, 16))]
    pace.watch(said, found)
    assert pace.least == pytest.approx(0.65 * 3.5)
    half = Segment(24.5, 38, "words " * 22)
    assert is_thin(half, found, pace.least)
    assert not is_thin(half, found)  # it could be slow speech


def test_a_slow_speaker_is_not_suspicious() -> None:
    pace, found = Pace(), regions((0, 40))
    pace.watch([Segment(at, at + 10, "words " * 16) for at in (0, 10, 20, 30)], found)
    assert pace.least == 1.4


def test_a_pause_is_no_sign_of_skipped_words() -> None:
    assert not is_thin(Segment(0.0, 12.0, "one two three four"), regions((0, 1.2), (10.5, 12)))
    assert not is_thin(Segment(0.0, 2.5, "yes"), regions((0, 2.5)))  # too short to tell


def test_a_sentence_in_a_click_is_too_much() -> None:
    assert is_crowded(Segment(0.0, 4.0, "Thank you for watching this."), regions((1.0, 1.2)))
    assert not is_crowded(Segment(0.0, 4.0, "Thank you."), regions((1.0, 1.5)))
    assert not is_crowded(Segment(0.0, 4.0, "seven or eight words can be said here"), regions((1.0, 3.0)))


def test_speech_in_no_segment_is_found_before_between_and_after() -> None:
    found = regions((0, 1), (2, 4), (5, 6), (7, 9))
    segments = [Segment(2.0, 4.0, "a"), Segment(7.0, 8.9, "b")]
    missed = list(uncovered(found, segments, 0, 10 * SAMPLE_RATE))
    assert missed == [[found[0]], [found[2]]]
    assert list(uncovered(found, [Segment(0.0, 9.0, "a")], 0, 10 * SAMPLE_RATE)) == []


def frames(*probabilities: float) -> Frames:
    import numpy as np

    return Frames(np.array(probabilities, np.float32), np.full(len(probabilities), -20.0, np.float32))


def test_a_region_that_is_never_certain_is_noise() -> None:
    sound = frames(*[0.4] * 6, *[0.0] * 6, *[0.4, 0.9, 0.9, 0.9, 0.4], *[0.0] * 6, 0.9, 0.9, *[0.0] * 6)
    finder = RegionFinder(1000 * FRAME, Sensitivity(sure=0.5, least=3))
    assert finder.push(sound) + finder.finish() == [Region(12 * FRAME, 17 * FRAME)]
    finder = RegionFinder(1000 * FRAME)
    assert len(finder.push(sound) + finder.finish()) == 3


def test_a_long_rest_of_a_region_that_a_segment_reaches_into_is_uncovered() -> None:
    """tiny.en wrote the first 3.4 s of 11.4 s of speech without a pause, and closed the window."""
    found = regions((0.1, 11.4))
    part = [[Region(round(3.44 * SAMPLE_RATE), round(11.4 * SAMPLE_RATE))]]
    assert list(uncovered(found, [Segment(0.0, 3.44, "x")], 0, round(11.4 * SAMPLE_RATE))) == part
    assert not list(uncovered(found, [Segment(0.0, 10.0, "x")], 0, round(11.4 * SAMPLE_RATE)))  # 1.4 s
    both = [Segment(0.0, 3.44, "x"), Segment(9.0, 11.4, "y")]
    assert list(uncovered(found, both, 0, 12 * SAMPLE_RATE)) == [[Region(part[0][0].start, 9 * SAMPLE_RATE)]]


NORSEMEN = (
    "The Norsemen considered the rainbow as a bridge over which the gods passed "
    "from the Earth to their home in the sky."
)


@pytest.mark.parametrize(
    ("segment", "speech", "earliest", "usual", "told"),
    [
        # of real recordings in which tiny.en skipped a phrase, with the regions found there
        (Segment(14.87, 25.37, NORSEMEN), [(15.17, 18.3), (18.72, 18.98), (19.55, 25.54)], 14.87, 3.0, True),
        (Segment(2.2, 10.5, NORSEMEN), [(1.2, 3.6), (4.1, 10.4)], 0.5, 1.0, True),  # begins in the middle of a region
        (Segment(2.2, 10.5, NORSEMEN), [(1.2, 3.6), (4.1, 10.4)], 2.1, 1.0, False),  # whose start another one has
        (Segment(14.87, 25.37, NORSEMEN), [(15.17, 25.54)], 14.87, 3.0, False),  # slow, and without a pause
        (Segment(14.87, 25.37, NORSEMEN), [(15.17, 18.3), (18.72, 18.98), (19.55, 25.54)], 14.87, 2.5, False),
        (Segment(0.0, 2.0, "Yes."), [(0.0, 0.9), (1.3, 2.0)], 0.0, 3.0, False),  # too short to tell
    ],
)
def test_where_a_phrase_may_be_missing(
    segment: Segment, speech: list[tuple[float, float]], earliest: float, usual: float, told: bool
) -> None:
    assert may_skip(segment, regions(*speech), earliest, usual) is told


def test_a_word_over_more_speech_than_it_takes_hides_others() -> None:
    found = regions((15.17, 18.3), (18.72, 18.98), (19.55, 25.54))
    hiding = Segment(14.7, 20.3, "The Norsemen", words=(Word("The", 14.73, 19.57), Word("Norsemen", 19.57, 20.3)))
    assert is_stretched(hiding, found)
    waiting = Segment(16.9, 20.3, "The Norsemen", words=(Word("The", 18.1, 19.8), Word("Norsemen", 19.8, 20.3)))
    assert not is_stretched(waiting, found)  # it is mostly pause
    long = Segment(20.0, 21.8, "internationalization", words=(Word("internationalization", 20.0, 21.8),))
    assert not is_stretched(long, found)
    assert not is_stretched(Segment(15.0, 25.0, NORSEMEN), found)  # without word times nothing is told
