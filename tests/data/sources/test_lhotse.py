"""Lhotse cuts: stretches, channels, several supervisions, and what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linnet.data import Utterance, open_source
from tests.support import corpus_formats as corpora

ROW = corpora.ROWS[0]


def read(folder: Path, *rows: dict[str, Any]) -> tuple[list[Utterance], list[str]]:
    source = open_source(corpora.lines(folder / "cuts.jsonl", list(rows)))
    return list(source), [str(problem) for problem in source.report.problems]


def supervision(start: float, text: str | None, speaker: str = "anna", language: str = "en") -> dict[str, Any]:
    return {"id": text, "start": start, "duration": 1.0, "text": text, "speaker": speaker, "language": language}


def test_a_cut_of_a_part_of_its_recording(tmp_path: Path) -> None:
    (row,), problems = read(tmp_path, corpora.cut(ROW, start=0.1, duration=0.3))
    assert (row.start, row.end, row.duration) == (0.1, pytest.approx(0.4), 0.3)
    assert (row.recording, problems) == ("a", [])


def test_supervisions_are_joined_in_time(tmp_path: Path) -> None:
    several = [supervision(1.0, "two"), supervision(0.0, "one", "ben"), supervision(2.0, None)]
    (row, bare), _ = read(tmp_path, corpora.cut(ROW, supervisions=several), corpora.cut(ROW, id="n", supervisions=[]))
    assert (row.text, row.speaker, row.language) == ("one two", None, "en")
    assert bare.text is None


def test_channels_are_counted_inside_their_file(tmp_path: Path) -> None:
    def recording(*channels: list[int]) -> dict[str, Any]:
        sources = [{"type": "file", "channels": inside, "source": f"/{inside[0]}.wav"} for inside in channels]
        return {"id": "r", "sources": sources, "duration": 0.5}

    rows, problems = read(
        tmp_path,
        corpora.cut(ROW, id="1", recording=recording([0, 1]), channel=1),
        corpora.cut(ROW, id="2", recording=recording([0, 1], [2, 3]), channel=3),
        corpora.cut(ROW, id="3", recording=recording([0], [1]), channel=1),
        corpora.cut(ROW, id="4", recording=recording([0, 1]), channel=[0, 1], type="MultiCut"),
        corpora.cut(ROW, id="5", recording=recording([0], [1]), channel=[0, 1], type="MultiCut"),
        corpora.cut(ROW, id="6", recording=recording([0]), channel=1),
    )
    places = [(row.id, row.audio, row.channel) for row in rows]
    assert places == [("1", "/0.wav", 1), ("2", "/2.wav", 1), ("3", "/1.wav", None), ("4", "/0.wav", None)]
    assert "is in 2 files" in problems[0]
    assert "channel 1 is not among" in problems[1]


def test_custom_fields(tmp_path: Path) -> None:
    (row,), _ = read(tmp_path, corpora.cut(ROW, custom={"snr": 12.5, "session": "s1", "domain": "news", "other": []}))
    assert (row.snr, row.session, row.domain, row.source) == (12.5, "s1", "news", None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"type": "MixedCut"}, "only cuts of one recording"),
        ({"type": "PaddingCut"}, "PaddingCut"),
        ({"recording": None}, "with their recordings"),
        ({"recording": {"id": "r", "sources": []}}, "no list of 'sources'"),
        ({"recording": {"sources": [{"type": "command", "channels": [0], "source": "sox |"}]}}, "'command'"),
        ({"recording": {"sources": [{"type": "file"}], "transforms": [{"name": "Speed"}]}}, "the transform Speed"),
        ({"supervisions": "text"}, "list of objects"),
        ({"start": -1.0}, "'start' must be seconds"),
    ],
)
def test_what_cannot_be_read_is_a_problem_of_its_line(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    rows, problems = read(tmp_path, corpora.cut(ROW), corpora.cut(ROW, **changes), corpora.cut(ROW, id="last"))
    assert [row.id for row in rows] == ["a", "last"]
    assert problems[0].startswith("line 2: ")
    assert says in problems[0]


def test_resampling_is_harmless(tmp_path: Path) -> None:
    recording = {**corpora.cut(ROW)["recording"], "transforms": [{"name": "Resample", "kwargs": {}}]}
    (row,), problems = read(tmp_path, corpora.cut(ROW, recording=recording))
    assert (row.id, problems) == ("a", [])
