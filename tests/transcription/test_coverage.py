"""Words against the speech that was found: what is too few, what is too many, and what lies in no segment."""

from __future__ import annotations

import pytest

from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import FRAME, Frames, Region, RegionFinder, Sensitivity
from linnet.transcription.coverage import Pace, amount, is_crowded, is_thin, speech_between, uncovered
from linnet.transcription.transcript import Segment


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
