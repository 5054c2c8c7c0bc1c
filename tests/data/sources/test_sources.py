"""All kinds of sources give the same utterances, count what is wrong, and never end for a bad row."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from linnet.data import AudioInputs, SourceSpec, Utterance, open_source, write_manifest
from linnet.data.sources.seen import IdSet
from linnet.errors import AudioError, LinnetError, OptionError
from tests.support import corpus_formats as corpora

TABLES = ("parquet", "arrow")


def make(name: str, folder: Path) -> Path:
    if name in TABLES:
        pytest.importorskip("pyarrow", reason="pyarrow (the extra datasets) is not installed")
    return corpora.FORMATS[name](folder)


def heard(utterance: Utterance, sounds: AudioInputs) -> np.ndarray:
    sound = sounds.get(utterance)
    samples, rate = soundfile.read(io.BytesIO(sound) if isinstance(sound, bytes) else sound, dtype="float32")
    assert rate == corpora.RATE
    return samples


@pytest.mark.parametrize("name", corpora.FORMATS)
def test_every_kind_gives_the_same_utterances(tmp_path: Path, name: str) -> None:
    source = open_source(make(name, tmp_path))
    assert source.kind == name.removesuffix("-tarred")
    rows = list(source)
    for row, wanted in zip(rows, corpora.ROWS, strict=True):
        assert (row.text, row.speaker, row.language) == (wanted["text"], wanted["speaker"], wanted["language"])
        assert row.id == wanted["id"] + (".wav" if name == "common-voice" else "")
        assert row.duration == (None if name == "common-voice" else 0.5)
        assert (row.start, row.end) == (None, None)
    with AudioInputs() as sounds:
        for row, wanted in zip(rows, corpora.ROWS, strict=True):
            assert sounds.exists(row)
            np.testing.assert_allclose(heard(row, sounds), corpora.tone(wanted["tone"]), atol=1e-4)
    assert (source.report.rows, source.report.bad, source.report.lines()) == (3, 0, [])


@pytest.mark.parametrize("name", corpora.FORMATS)
def test_a_source_is_read_again_from_the_start(tmp_path: Path, name: str) -> None:
    source = open_source(make(name, tmp_path))
    assert source.peek() == next(iter(source))
    assert list(source) == list(source)
    assert source.report.rows == 3


def test_the_rows_of_a_leaderboard_bring_their_hypotheses(tmp_path: Path) -> None:
    source = open_source(corpora.leaderboard(tmp_path))
    first = source.peek()
    assert source.kind == "leaderboard"
    assert first is not None
    assert (first.hypothesis, first.seconds, first.recording, first.chunk) == ("three one", 0.1, "call", 0)


@pytest.mark.parametrize("kind", ["nemo", "linnet"])
def test_a_kind_can_be_named(tmp_path: Path, kind: str) -> None:
    path = corpora.leaderboard(tmp_path)
    assert open_source(path, "nemo").kind == open_source(f"nemo:{path}").kind == "nemo"
    assert open_source(SourceSpec(str(path), kind=kind)).kind == kind


def test_an_unknown_kind_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="did you mean 'lhotse'"):
        open_source(corpora.linnet(tmp_path), "lhotze")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b'{"path": "a"}\n', "has the keys path"),
        (b"[1, 2]\n", "expected a JSON object, got list"),
        (b"just a text\n", "not JSON"),
        ('{"audio": "a"}\n'.encode("utf-16"), "UTF-16"),
        (b'{"id": "r", "sources": []}\n', "make cuts"),
        (b"\x1f\x8bdamaged", "gzip data is damaged"),
    ],
)
def test_what_is_no_source_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(OptionError) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_a_path_that_is_not_there_and_a_folder_of_nothing_are_named(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "gone.jsonl", "no such file"), (tmp_path, r"expected wav\.scp")):
        with pytest.raises(OptionError, match=says):
            open_source(path)
    (tmp_path / "test.tsv").touch()
    with pytest.raises(OptionError, match=r"name one of them: test\.tsv"):
        open_source(tmp_path)


BAD_LINES = {
    "not JSON": b"{oops",
    "is not UTF-8": b'{"audio": "\xff", "audio_filepath": "x"}',
    "got list": b"[]",
    "audio": b'{"text": "no sound"}',
    "must be a string": b'{"audio": "x", "audio_filepath": "x", "text": 5}',
    "must be a finite number": b'{"audio": "x", "audio_filepath": "x", "duration": NaN}',
    "zero or more": b'{"audio": "x", "audio_filepath": "x", "duration": -1}',
}


@pytest.mark.parametrize("form", [corpora.linnet, corpora.nemo])
def test_bad_rows_are_counted_and_named_and_never_the_end(tmp_path: Path, form: Callable[[Path], Path]) -> None:
    path = form(tmp_path)
    good = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([good[0], *BAD_LINES.values(), b"", *good[1:]]))
    source = open_source(path)
    assert [row.id for row in source] == ["a", "b", "c"]
    assert source.report.bad == len(BAD_LINES)
    for number, (problem, says) in enumerate(zip(source.report.problems, BAD_LINES, strict=True), start=2):
        assert problem.where == f"line {number}"
        assert says in problem.reason
    assert source.report.lines()[0].endswith(f"{len(BAD_LINES)} of {len(BAD_LINES) + 3} rows cannot be used")


def test_the_byte_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"audio": "a", "text": "x"}\n{"audio": "b", "text": "fünf"}\n'.encode("latin-1"))
    source = open_source(path)
    assert len(list(source)) == 1
    assert str(source.report.problems[0]).startswith("line 2: byte 26 (0xfc) is not UTF-8")


def test_only_the_first_of_many_bad_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "a"}\n' + "{}\n" * 1000)
    source = open_source(path)
    assert len(list(source)) == 1
    assert (source.report.bad, len(source.report.problems)) == (1000, 10)
    assert source.report.lines()[-2:] == ["  and 990 more", f"{path}: 1 of 1 rows have no reference text"]


def test_ids_that_come_again_are_made_unique_and_told(tmp_path: Path) -> None:
    path = corpora.lines(tmp_path / "m.jsonl", [{"audio": f"{at}.wav", "id": "x"} for at in range(3)])
    source = open_source(path)
    assert [row.id for row in source] == ["x", "x#2", "x#3"]
    assert source.report.renamed == 2
    assert "  x, now x#2" in source.report.lines()


def test_rows_marked_to_be_left_out_are_counted(tmp_path: Path) -> None:
    rows = [{"audio_filepath": "a.wav", "_skipme": True}, {"audio_filepath": "b.wav", "_skipme": False}]
    source = open_source(corpora.lines(tmp_path / "m.json", rows))
    assert [row.id for row in source] == ["b.wav"]
    assert source.report.skipped == 1
    assert "_skipme" in source.report.lines()[0]


def test_a_stretch_of_a_nemo_recording(tmp_path: Path) -> None:
    rows = [{"audio_filepath": "/d/a.wav", "offset": at, "duration": 0.25} for at in (0, 1.5)]
    first, second = open_source(corpora.lines(tmp_path / "m.json", rows))
    assert (first.id, first.start, first.end) == ("/d/a.wav@0.000", 0.0, 0.25)
    assert (second.audio, second.start, second.end, second.duration) == ("/d/a.wav", 1.5, 1.75, 0.25)


def test_the_text_key_and_the_language_can_be_given(tmp_path: Path) -> None:
    path = corpora.lines(tmp_path / "m.json", [{"audio_filepath": "a", "text": "low", "text_pnc": "Low."}])
    row = open_source(SourceSpec(str(path), text="text_pnc", language="fr")).peek()
    assert row is not None
    assert (row.text, row.language) == ("Low.", "fr")


def test_what_is_written_is_read_back_whole(tmp_path: Path) -> None:
    rows = [
        Utterance("/a.wav", "x", 1.0, "en", "one", "s", 1.5, 2.5, 1, "rec", "ses", -3.5, "y", 0.25, 4),
        Utterance("t.parquet::audio/3", id="two"),
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    first, second = open_source(tmp_path / "m.jsonl")
    assert first == rows[0]
    assert second.audio == str(tmp_path / "t.parquet::audio/3")


def test_the_row_that_ends_before_it_starts_is_bad(tmp_path: Path) -> None:
    path = corpora.lines(tmp_path / "m.jsonl", [{"audio": "a", "start": 2.0, "end": 1.0}])
    source = open_source(path)
    assert list(source) == []
    assert "ends at 1 s and starts at 2 s" in source.report.problems[0].reason


@pytest.mark.parametrize("name", ["nemo-tarred", "parquet", "arrow"])
def test_an_archive_that_has_changed_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    first = open_source(make(name, tmp_path)).peek()
    assert first is not None
    file, _, inside = first.audio.partition("::")
    with AudioInputs() as sounds:
        for wrong in ("gone.wav", "audio/77", "words/0"):
            with pytest.raises(AudioError, match=wrong):
                sounds.get(Utterance(f"{file}::{wrong}"))
        assert sounds.get(first) == corpora.wav(300.0)
        with pytest.raises(AudioError, match="cannot be read"):
            sounds.get(Utterance(f"{tmp_path}/gone{Path(file).suffix}::{inside}"))
    assert sounds.exists(Utterance(f"{tmp_path}/gone.tar::a")) is False
    assert sounds.exists(Utterance("https://example.org/a.wav")) is None


def test_nemo_cuts_of_one_archived_file(tmp_path: Path) -> None:
    corpora.nemo_tarred(tmp_path)
    with AudioInputs() as sounds:
        assert sounds.get(Utterance(f"{tmp_path}/audio_0.tar::a-sub2.wav")) == corpora.wav(300.0)


@given(st.lists(st.text(max_size=3)))
def test_seen_is_a_set(names: list[str]) -> None:
    seen, oracle = IdSet(), set()
    for name in names:
        assert seen.add(name) == (name not in oracle)
        oracle.add(name)
    assert len(seen) == len(oracle)


def test_seen_grows() -> None:
    seen = IdSet()
    names = [str(number) for number in range(20_000)]
    random.Random(0).shuffle(names)
    assert all(seen.add(name) for name in names)
    assert not any(seen.add(name) for name in names)


@pytest.mark.parametrize("name", ["linnet", "nemo", "lhotse", "kaldi", "common-voice"])
def test_no_damage_escapes(tmp_path: Path, name: str) -> None:
    path = make(name, tmp_path)
    if name == "lhotse":
        path = corpora.lines(path.with_suffix(""), [corpora.cut(row) for row in corpora.ROWS])
    file = path / "text" if path.is_dir() else path
    data = file.read_bytes()
    generator = np.random.default_rng(0)
    counted = 0
    for _ in range(60):
        damaged = bytearray(data)
        for at in generator.integers(0, len(data), 3):
            damaged[at] = generator.integers(256)
        file.write_bytes(bytes(damaged))
        source = open_source(path, name)
        try:
            rows = len(list(source))
        except LinnetError:
            continue
        counted += source.report.bad
        assert rows + source.report.bad + source.report.skipped >= 1
    assert counted > 20


def test_names_that_are_no_text_go_through_a_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [Utterance("/d/\udcff.wav")])
    row = open_source(tmp_path / "m.jsonl").peek()
    assert row is not None
    assert row.audio == "/d/\udcff.wav"
