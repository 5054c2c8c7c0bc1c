"""Word times and subtitles by the real command, on the embedded model."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.calling import Called, make_call

EXAMPLE = Path("examples") / "digits-en.flac"


@pytest.fixture
def transcribe(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    call = make_call(monkeypatch, capsys)

    def run(*arguments: object) -> Called:
        return call("transcribe", root / EXAMPLE, "--model", "digits", "--language", "en", *arguments)

    return run


def test_json_has_every_word_within_its_segment(transcribe) -> None:  # type: ignore[no-untyped-def]
    done = transcribe("--format", "json", "--word-timestamps")
    assert done.status == 0
    data = json.loads(done.out)
    assert data["options"]["word_timestamps"] is True
    assert "word times:" not in done.err  # the model names its heads
    for segment in data["segments"]:
        words = segment["words"]
        assert [word["word"] for word in words] == segment["text"].split()
        assert segment["start"] == words[0]["start"]
        assert segment["end"] == words[-1]["end"]
        assert all(before["end"] <= after["start"] for before, after in pairwise(words))
        assert all(word["start"] < word["end"] and 0 < word["probability"] <= 1 for word in words)
    plain = json.loads(transcribe("--format", "json").out)
    assert plain["text"] == data["text"]
    assert all(segment["words"] == [] for segment in plain["segments"])


def test_vtt_lights_up_words(transcribe) -> None:  # type: ignore[no-untyped-def]
    done = transcribe("--format", "vtt", "--word-timestamps")
    words = re.findall(r"<c>(\w+)</c>", done.out)
    assert " ".join(words) == " ".join(re.sub("<[^>]*>", "", line) for line in done.out.splitlines()[3::3])
    assert re.search(r" <\d\d:\d\d:\d\d\.\d{3}><c>\w+</c>", done.out)


def test_subtitle_options_and_their_variables(transcribe, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    wide = transcribe("--format", "srt", "--subtitle", "--word-timestamps")
    narrow = transcribe("--format", "srt", "--max-line-width", 10, "--max-lines", 1, "--word-timestamps")
    lines = [line for line in narrow.out.splitlines() if line and not line.isdigit() and "-->" not in line]
    assert len(lines) > 1
    assert all(len(line) <= 10 for line in lines)
    assert narrow.out.count("-->") == len(lines) > wide.out.count("-->")
    for name, value in (("MAX_LINE_WIDTH", "10"), ("MAX_LINES", "1"), ("WORD_TIMESTAMPS", "1")):
        monkeypatch.setenv(f"LINNET_{name}", value)
    assert transcribe("--format", "srt").out == narrow.out


def test_what_cannot_be_is_refused(transcribe) -> None:  # type: ignore[no-untyped-def]
    assert transcribe("--max-line-width", 0).status == 2
    done = transcribe("--max-chars-per-second", -1)
    assert done.status == 1
    assert "max chars per second must be more than 0" in done.err
