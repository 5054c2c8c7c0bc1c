"""Sentences: stops that a window's end invented, and paragraphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.transcription.sentences import ends_sentence, paragraphs, without_invented_stops
from linnet.transcription.transcript import Segment, Word


def spoken(*parts: tuple[float, float, str]) -> list[Segment]:
    return [Segment(start, end, text) for start, end, text in parts]


@pytest.mark.parametrize(
    ("before", "after", "gap", "mended"),
    [
        ("exploited by MS-13.", "which now operates", 0.4, "exploited by MS-13"),
        ("exploited by MS-13.", "which now operates", 3.0, "exploited by MS-13."),  # said after a long pause
        ("exploited by MS-13.", "Which now operates", 0.4, "exploited by MS-13."),
        ("in the U.S.", "which now operates", 0.4, "in the U.S."),
        ("and so on...", "which now operates", 0.4, "and so on..."),
        ("is it?", "which now operates", 0.4, "is it?"),
        ("是这样.", "然后", 0.1, "是这样."),  # no small letters: nothing shows that the sentence goes on
    ],
)
def test_a_full_stop_before_a_small_letter_was_none(before: str, after: str, gap: float, mended: str) -> None:
    first, second = without_invented_stops(spoken((0.0, 2.0, before), (2.0 + gap, 5.0, after)))
    assert (first.text, second.text) == (mended, after)


def test_the_last_word_loses_the_stop_too() -> None:
    words = (Word("by", 0.0, 1.0), Word("you.", 1.0, 2.0))
    first, _ = without_invented_stops([Segment(0.0, 2.0, "by you.", words=words), Segment(2.1, 3.0, "and me")])
    assert [word.word for word in first.words] == ["by", "you"]
    assert " ".join(word.word for word in first.words) == first.text


def test_paragraphs_begin_after_a_sentence_and_a_pause() -> None:
    parts = spoken(
        (0.0, 2.0, "One is said."),
        (2.2, 4.0, "Two as well,"),
        (6.0, 7.0, "after a pause within a sentence."),
        (8.6, 9.0, "Three."),
        (14.0, 15.0, "Four"),
        (20.0, 21.0, "five."),
    )
    assert list(paragraphs(parts)) == [
        "One is said. Two as well, after a pause within a sentence.",
        "Three.",
        "Four",
        "five.",
    ]


def test_a_long_paragraph_ends_with_a_sentence() -> None:
    parts = [Segment(float(place), place + 1.0, "x" * 99 + ("." if place % 2 else ",")) for place in range(20)]
    found = list(paragraphs(parts))
    assert [len(one) for one in found] == [605, 605, 605, 201]
    assert all(ends_sentence(one) for one in found)


@given(st.lists(st.tuples(st.floats(0, 9), st.text("aB.? \n", max_size=6)), max_size=12))
def test_no_word_is_lost_in_paragraphs(given_parts: list[tuple[float, str]]) -> None:
    at, parts = 0.0, []
    for gap, text in given_parts:
        parts.append(Segment(at + gap, at + gap + 1, text))
        at += gap + 1
    joined = " ".join(paragraphs(parts)).split()
    assert joined == " ".join(part.text for part in parts).split()
