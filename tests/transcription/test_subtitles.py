"""Subtitles that can be read: examples by hand, and what holds for any transcript."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.errors import OptionError
from linnet.transcription.subtitles import FLICKER, SUBTITLE, Cue, SubtitleLayout, line_text, make_cues
from linnet.transcription.transcript import Segment, Transcript, Word
from linnet.transcription.writers import make_writer

NARROW = SubtitleLayout(max_line_width=12, max_lines=2)


def texts(cues: list[Cue]) -> list[list[str]]:
    return [[line_text(line) for line in cue.lines] for cue in cues]


def one(text: str, end: float = 4.0, words: tuple[Word, ...] = (), start: float = 0.0) -> Transcript:
    return Transcript((Segment(start, end, text, words=words),))


def spoken(text: str, *, start: float = 0.0, each: float = 0.4, pauses: dict[int, float] | None = None) -> Transcript:
    """A segment whose words last `each` seconds, with pauses before some of them."""
    words = []
    for place, word in enumerate(text.split()):
        start += (pauses or {}).get(place, 0.0)
        words.append(Word(word, start, start + each, 0.9))
        start += each
    return one(text, words[-1].end, tuple(words), words[0].start)


def test_without_a_layout_a_segment_is_a_cue_as_it_is() -> None:
    (cue,) = make_cues(one("one  two\n\n three"))
    assert texts([cue]) == [["one  two", "three"]]
    assert (cue.start, cue.end) == (0.0, 4.0)
    assert make_cues(one(" \n ")) == []


def test_cues_end_at_sentences_then_clauses_then_pauses() -> None:
    assert texts(make_cues(one("One two. Three four five six."), NARROW)) == [["One two."], ["Three four", "five six."]]
    assert texts(make_cues(one("One two, three four five six"), NARROW)) == [["One two,"], ["three four", "five six"]]
    paused = spoken("aaaa bbbb cccc dddd eeee ffff", pauses={2: 0.5})
    assert texts(make_cues(paused, NARROW)) == [["aaaa bbbb"], ["cccc dddd", "eeee ffff"]]


def test_lines_are_of_like_length() -> None:
    layout = SubtitleLayout(max_line_width=20, max_lines=2)
    assert texts(make_cues(one("one two three four five six"), layout)) == [["one two three", "four five six"]]


def test_times_are_those_of_words_where_there_are_any() -> None:
    cues = make_cues(spoken("One two. Three four five six.", start=1.0), NARROW)
    assert [(round(cue.start, 3), round(cue.end, 3)) for cue in cues] == [(1.0, 1.8), (1.8, 3.4)]


def test_times_are_shares_of_the_characters_where_there_are_no_words() -> None:
    cues = make_cues(one("aaaa. bbbb cccc ddd", 20.0), SubtitleLayout(max_line_width=14, max_lines=1))
    assert texts(cues) == [["aaaa."], ["bbbb cccc ddd"]]
    assert (cues[0].start, cues[0].end, cues[1].start, cues[1].end) == (0.0, 6.25, 6.25, 20.0)


def test_words_that_do_not_spell_the_text_are_not_trusted() -> None:
    other = (Word("eins", 3.0, 3.5, 0.9),)
    (cue,) = make_cues(one("one two", 4.0, other), SUBTITLE)
    assert not any(unit.timed for line in cue.lines for unit in line)


def test_a_cue_stays_long_enough_to_be_read_but_not_into_the_next() -> None:
    segments = (Segment(1.0, 1.1, "Yes."), Segment(1.5, 1.6, "twenty characters ok"), Segment(9.0, 9.1, "No."))
    layout = SubtitleLayout(max_line_width=42, max_lines=2, max_chars_per_second=10.0, min_duration=0.8)
    cues = make_cues(Transcript(segments, duration=9.3), layout)
    assert [(cue.start, cue.end) for cue in cues] == [(1.0, 1.5), (1.5, 3.5), (9.0, 9.3)]


def test_long_silence_inside_a_segment_ends_a_cue() -> None:
    cues = make_cues(spoken("one two three four", pauses={2: 3.0}), SUBTITLE)
    assert texts(cues) == [["one two"], ["three four"]]


def test_no_cue_lasts_longer_than_the_layout_says() -> None:
    cues = make_cues(one("a quiet word in a very long time", 40.0), SUBTITLE)
    assert max(cue.end - cue.start for cue in cues) <= 7.0
    assert " ".join(line for cue in texts(cues) for line in cue) == "a quiet word in a very long time"


def test_scripts_without_spaces_break_between_characters_not_before_punctuation() -> None:
    cues = make_cues(
        one("今日は天気がいいです。明日も晴れるでしょう。", 6.0), SubtitleLayout(max_line_width=8, max_lines=2)
    )
    lines = [line for cue in texts(cues) for line in cue]
    assert "".join(lines) == "今日は天気がいいです。明日も晴れるでしょう。"
    assert all(len(line) <= 8 for line in lines)
    assert not any(line.startswith("。") for line in lines)


def test_what_no_text_fits_is_refused() -> None:
    for bad in ({"max_line_width": 0}, {"max_lines": 0}, {"max_chars_per_second": 0.0}, {"max_duration": -1.0}):
        with pytest.raises(OptionError, match="must be more than 0"):
            SubtitleLayout(**bad)  # type: ignore[arg-type]
    assert SubtitleLayout(max_lines=1).max_line_width == 42


def test_karaoke_lights_up_each_word_at_its_time() -> None:
    vtt = make_writer("vtt").render(spoken("three < one two", start=1.0))
    assert vtt == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.600\n<c>three</c> <00:00:01.400><c>&lt;</c> "
        "<00:00:01.800><c>one</c> <00:00:02.200><c>two</c>\n"
    )
    srt = make_writer("srt", layout=NARROW).render(spoken("three one two", start=1.0))
    assert srt == "1\n00:00:01,000 --> 00:00:02,200\nthree\none two\n\n"


def test_karaoke_tags_rise_and_lie_within_their_cue() -> None:
    words = tuple(Word(text, start, start, 0.5) for text, start in (("a", 0.5), ("b", 0.5), ("c", 0.7), ("d", 0.7)))
    vtt = make_writer("vtt").render(one("a b c d", 0.7, words, start=0.5))
    assert vtt.splitlines()[-1] == "<c>a</c> <c>b</c> <c>c</c> <c>d</c>"


WORD = st.text("abcdefghij.,!語は\"'-", min_size=1, max_size=15)


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Segments in order without overlap, some with words."""
    segments, at = [], 0.0
    for _ in range(draw(st.integers(0, 4))):
        start = at + draw(st.floats(0, 3))
        words = draw(st.lists(WORD, min_size=1, max_size=25))
        placed, now = [], start
        for word in words:
            now += draw(st.sampled_from([0.0, 0.0, 0.1, 0.6, 2.5]))
            end = now + draw(st.sampled_from([0.0, 0.05, 0.3, 1.0, 9.0]))
            placed.append(Word(word, now, end, 0.5))
            now = end
        timed = draw(st.booleans())
        segments.append(Segment(start, now, " ".join(words), words=tuple(placed) if timed else ()))
        at = now
    return Transcript(tuple(segments), duration=at + 1.0)


@st.composite
def layouts(draw: st.DrawFn) -> SubtitleLayout:
    return SubtitleLayout(
        max_line_width=draw(st.one_of(st.none(), st.integers(5, 42))),
        max_lines=draw(st.one_of(st.none(), st.integers(1, 3))),
        max_chars_per_second=draw(st.one_of(st.none(), st.floats(5, 30))),
        min_duration=draw(st.sampled_from([0.0, 0.8])),
        max_duration=draw(st.sampled_from([None, 2.0, 7.0])),
    )


@settings(max_examples=150, deadline=None)
@given(transcripts(), layouts())
def test_whatever_is_said_nothing_is_lost_too_wide_or_overlapping(
    transcript: Transcript, layout: SubtitleLayout
) -> None:
    cues = make_cues(transcript, layout)
    said = "".join("".join(segment.text.split()) for segment in transcript.segments)
    assert "".join("".join(line.split()) for cue in texts(cues) for line in cue) == said
    for cue in cues:
        assert layout.max_lines is None or len(cue.lines) <= layout.max_lines
        for line in cue.lines:
            width = layout.max_line_width
            assert width is None or len(line_text(line)) <= width or len(line) == 1
        assert cue.start <= cue.end
    for before, after in pairwise(cues):
        assert before.end <= after.start
    assert all(cue.start >= 0.0 and cue.end <= transcript.duration for cue in cues)
    plain = layout.max_chars_per_second is None and layout.min_duration == 0.0
    if plain and cues:
        bounds = [(segment.start, segment.end) for segment in transcript.segments]
        assert all(any(a - 1e-9 <= c.start and c.end < b + FLICKER for a, b in bounds) for c in cues)


@settings(max_examples=50, deadline=None)
@given(transcripts())
def test_words_stay_together_and_karaoke_time_rises(transcript: Transcript) -> None:
    vtt = make_writer("vtt", layout=SUBTITLE).render(transcript)
    for block in vtt.split("\n\n")[1:]:
        times = re.findall(r"(\d\d):(\d\d):(\d\d\.\d\d\d)", block)
        seconds = [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in times]
        start, end, *tags = seconds
        assert start <= end
        assert all(start < tag < end for tag in tags)
        assert sorted(set(tags)) == tags


def test_cues_that_follow_at_once_are_joined_without_a_flicker() -> None:
    parts = (Segment(0.0, 1.99, "one"), Segment(2.0, 3.0, "two"), Segment(3.2, 4.0, "three"))
    for layout in (None, SubtitleLayout(max_line_width=42)):
        cues = make_cues(Transcript(parts, duration=5.0), layout)
        assert [(cue.start, cue.end) for cue in cues] == [(0.0, 2.0), (2.0, 3.0), (3.2, 4.0)]
    apart = (Segment(0.0, 9.0, "one"), Segment(9.1, 9.5, "two"))  # by FLICKER, but for rounding
    assert [cue.end for cue in make_cues(Transcript(apart))] == [9.0, 9.5]
