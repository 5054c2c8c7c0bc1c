"""Real weights on real faults: sentences that were skipped, words where nobody speaks, text before a window."""

from __future__ import annotations

from pathlib import Path

import pytest

import linnet
from linnet.transcription.recognizer import Recognizer
from tests.support.real_weights import require_weights

PROMPT = "The following is a reading about San Francisco, Moses and the Hebrews."


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    return linnet.load(str(require_weights("tiny.en")), device="cpu")


@pytest.fixture(scope="module")
def base() -> Recognizer:
    return linnet.load(str(require_weights("base")), device="cpu")


def test_a_skipped_sentence_is_heard_again(tiny: Recognizer, faults: Path) -> None:
    text = tiny.transcribe(faults / "lost_words" / "c7980.flac").text
    assert "The stillness was awful creepy and uncomfortable" in text
    assert "He asked himself" in text


@pytest.mark.parametrize(
    ("name", "phrases"),
    [
        (
            "a4425.flac",
            (
                "You didn't want to come",
                "He has known her",
                "half a man with you",
                "he says this",
                "tear down the fence",
                "If the medical practitioner",
                "The actual primary rainbow",
            ),
        ),
        (
            "b5345.flac",
            (
                "thousands of miles",
                "physicists have found",
                "wash water all year",
                "the birth of Roman character",
                "This attitude is universal",
            ),
        ),
    ],
)
def test_no_sentence_of_a_joined_recording_is_lost(
    tiny: Recognizer, faults: Path, name: str, phrases: tuple[str, ...]
) -> None:
    text = tiny.transcribe(faults / "lost_words" / name).text
    assert [phrase for phrase in phrases if phrase not in text] == []


@pytest.mark.parametrize(
    ("name", "times", "starts"),
    [
        ("f32_int16scale.wav", 1, 0.0),
        ("loud.wav", 1, 0.0),
        ("antiphase.wav", 1, 0.0),
        ("nan.wav", 1, 0.0),
        ("chained.opus", 2, 0.0),
        ("offset5.mp4", 1, 5.0),
    ],
)
def test_the_sentence_is_heard_in_spite_of_the_fault(
    tiny: Recognizer, faults: Path, name: str, times: int, starts: float
) -> None:
    transcript = tiny.transcribe(faults / name)
    assert transcript.text.count("not what your country can do for you") == times
    assert transcript.segments[0].start == pytest.approx(starts, abs=0.4)


@pytest.mark.parametrize(
    ("name", "phrase", "start"), [("gap20.webm", "hat your country", 25.0), ("dmg_mid.webm", "When, however", 37.6)]
)
def test_times_after_a_gap_are_the_containers(
    tiny: Recognizer, faults: Path, name: str, phrase: str, start: float
) -> None:
    (found, *_) = (one for one in tiny.transcribe(faults / name).segments if phrase in one.text)
    assert found.start == pytest.approx(start, abs=0.8)


@pytest.mark.parametrize("name", ["sil10.flac", "noise10.flac", "music25.flac", "ten_ms.wav"])
def test_nothing_is_said_where_nobody_speaks(tiny: Recognizer, faults: Path, name: str) -> None:
    assert tiny.transcribe(faults / name).text == ""


@pytest.mark.parametrize("name", ["sil10.flac", "noise10.flac", "music25.flac"])
def test_nothing_is_said_in_any_language(base: Recognizer, faults: Path, name: str) -> None:
    assert base.transcribe(faults / name).text == ""


def test_a_language_does_not_reach_over_a_pause(base: Recognizer, faults: Path) -> None:
    transcript = base.transcribe(faults / "mix_en_de_en.flac", language_per_segment=True)
    spoken = [(segment.language, segment.start) for segment in transcript.segments]
    assert {code for code, start in spoken if start < 11.0 or start > 34.0} == {"en"}
    assert {code for code, start in spoken if 12.5 < start < 33.0} == {"de"}
    assert transcript.text.count("what your country can do for you") == 2


def test_the_second_language_of_a_short_recording_is_not_lost(base: Recognizer, faults: Path) -> None:
    transcript = base.transcribe(faults / "mix_short.wav")
    assert "Sobald der Test abgeschlossen ist" in transcript.text
    assert transcript.segments[-1].end > 17.0


def test_the_first_cue_begins_after_the_silence(tiny: Recognizer, faults: Path) -> None:
    assert tiny.transcribe(faults / "sil_jfk.flac").segments[0].start == pytest.approx(12.0, abs=0.1)


def test_a_sentence_that_is_said_four_times_is_not_sampled_away(tiny: Recognizer, faults: Path) -> None:
    text = tiny.transcribe(faults / "jfk_x4.flac").text.lower()
    assert text.count("ask not what your country can do for you") == 4


@pytest.mark.parametrize("changes", [{"condition_on_previous": True}, {"prompt": PROMPT}])
def test_text_before_a_window_loses_no_sentence(tiny: Recognizer, faults: Path, changes: dict[str, object]) -> None:
    """About 210 words were said; without timestamps in the text before it a window lost up to half of its own."""
    transcript = tiny.transcribe(faults / "turns95.opus", **changes)
    assert len(transcript.text.split()) >= 200
    assert max(segment.end - segment.start for segment in transcript.segments) <= 13.0
