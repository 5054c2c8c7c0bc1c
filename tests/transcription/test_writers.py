"""Formats: exact texts."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.errors import OptionError
from linnet.transcription.transcript import Segment, Transcript, Word
from linnet.transcription.writers import WRITERS, JsonWriter, parse_formats
from linnet.transcription.writers.base import clock, milliseconds

EMPTY = Transcript(segments=(), source="silence.wav", duration=2.0)
TWO = Transcript(
    segments=(Segment(0.0, 1.5, " three one "), Segment(59.9996, 3661.0004, "für 2 < 3 & 4 --> 5")),
    source="räume/a.wav",
    language="de",
)


def render(name: str, *segments: Segment) -> str:
    return WRITERS[name].render(Transcript(segments=segments, source="a.wav"))


def test_the_extension_is_the_name() -> None:
    assert {name: writer.extension for name, writer in WRITERS.items()} == {
        name: name for name in ("txt", "srt", "vtt", "tsv", "json", "jsonl")
    }


def test_txt_is_one_line_a_segment() -> None:
    assert WRITERS["txt"].render(TWO) == "three one\nfür 2 < 3 & 4 --> 5\n"
    assert render("txt", Segment(0, 1, "a\n b "), Segment(1, 2, "  ")) == "a b\n"


def test_srt_is_exact() -> None:
    assert WRITERS["srt"].render(TWO) == (
        "1\n00:00:00,000 --> 00:00:01,500\nthree one\n\n2\n00:01:00,000 --> 01:01:01,000\nfür 2 < 3 & 4 -> 5\n\n"
    )


def test_vtt_is_exact() -> None:
    assert WRITERS["vtt"].render(TWO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nthree one\n"
        "\n00:01:00.000 --> 01:01:01.000\nfür 2 &lt; 3 &amp; 4 --&gt; 5\n"
    )


def test_tsv_is_exact() -> None:
    assert render("tsv", Segment(0.0004, 1.0006, "a\tb\r\nc "), Segment(1.5, 2, "")) == (
        "start\tend\ttext\n0\t1001\ta b c\n1500\t2000\t\n"
    )


@pytest.mark.parametrize(("name", "mark"), [("srt", ","), ("vtt", ".")])
def test_subtitles_leave_out_blank_text_and_blank_lines(name: str, mark: str) -> None:
    text = render(name, Segment(0, 1, "a\n\n \nb"), Segment(1, 2, " \n "), Segment(3, 2, "c"))
    cues = [block for block in text.removeprefix("WEBVTT\n\n").split("\n\n") if block]
    assert len(cues) == 2
    assert cues[0].endswith("\na\nb")
    assert f"00:00:03{mark}000 --> 00:00:03{mark}000\nc" in cues[1]  # an end before its start is moved to it
    if name == "srt":
        assert cues[1].startswith("2\n")


def test_nothing_said_is_still_a_valid_file() -> None:
    rendered = {name: writer.render(EMPTY) for name, writer in WRITERS.items()}
    assert json.loads(rendered.pop("json"))["text"] == ""
    assert rendered == {"txt": "", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n", "jsonl": ""}


def test_json_is_the_whole_transcript_without_nan() -> None:
    segment = Segment(0.0, 1.0, "zwölf", (7, 31), avg_logprob=float("nan"), words=(Word("zwölf", 0.0, 1.0, 0.5),))
    transcript = Transcript(segments=(segment,), model="m", options={"temperatures": (0.0, float("inf"))})
    text = WRITERS["json"].render(transcript)
    assert "zwölf" in text
    data = json.loads(text, parse_constant=pytest.fail)
    assert data["segments"][0]["avg_logprob"] is None
    assert data["options"]["temperatures"] == [0.0, None]
    word = {"word": "zwölf", "start": 0.0, "end": 1.0, "probability": 0.5, "interpolated": False}
    assert data["segments"][0]["words"] == [word]
    assert data["segments"][0]["tokens"] == [7, 31]
    assert json.loads(WRITERS["jsonl"].render(transcript))["tokens"] == [7, 31]
    assert next(iter(data)) == "text"
    assert json.loads(WRITERS["json"].render(TWO)) == json.loads(json.dumps(TWO.to_dict()))


def test_json_carries_the_fingerprint_when_it_has_one() -> None:
    assert "fingerprint" not in json.loads(JsonWriter().render(TWO))
    assert json.loads(JsonWriter("abc").render(TWO))["fingerprint"] == "abc"


def test_jsonl_is_a_line_a_segment_with_its_source() -> None:
    rows = [json.loads(line) for line in WRITERS["jsonl"].render(TWO).splitlines()]
    assert [(row["source"], row["language"], row["start"]) for row in rows] == [
        ("räume/a.wav", "de", 0.0),
        ("räume/a.wav", "de", 59.9996),
    ]


@given(st.floats(0, 400_000))
def test_clocks_are_the_rounded_milliseconds(seconds: float) -> None:
    found = re.fullmatch(r"(\d{2,}):(\d\d):(\d\d),(\d{3})", clock(seconds, ","))
    assert found
    hour, minute, second, thousandths = (int(part) for part in found.groups())
    assert minute < 60
    assert second < 60
    assert ((hour * 60 + minute) * 60 + second) * 1000 + thousandths == milliseconds(seconds)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_keeps_the_frame_of_every_format(text: str) -> None:
    segments = (Segment(0, 1, text), Segment(1, 2, "end"))
    assert len(render("tsv", *segments).split("\n")) == 4
    assert all(line.count("\t") == 2 for line in render("tsv", *segments).split("\n")[:-1])
    assert len(render("jsonl", *segments).split("\n")) == 3
    assert render("vtt", *segments).count("-->") == render("srt", *segments).count("-->")
    assert 1 <= render("srt", *segments).count("-->") <= 2


def test_formats_come_one_by_one_or_by_commas() -> None:
    assert parse_formats(["txt", "srt, json", ".VTT", "srt"]) == ("txt", "srt", "json", "vtt")
    with pytest.raises(OptionError, match=r"format 'docx' is unknown: use txt, srt, vtt, tsv, json, jsonl"):
        parse_formats(["txt,docx"])
    with pytest.raises(OptionError, match="no format was given"):
        parse_formats([" , "])
