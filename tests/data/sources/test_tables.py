"""Common Voice tables, Parquet and Arrow, and data sets of the Hub through a stand-in for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from linnet.data import AudioInputs, SourceSpec, Utterance, open_source
from linnet.errors import MissingExtra, OptionError
from tests.support import corpus_formats as corpora


@pytest.fixture
def arrow() -> Any:
    return pytest.importorskip("pyarrow", reason="pyarrow (the extra datasets) is not installed")


def write(path: Path, columns: dict[str, list[Any]], **options: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, **options)
    return path


def test_a_common_voice_line_of_other_length_is_bad(tmp_path: Path) -> None:
    path = corpora.common_voice(tmp_path)
    with path.open("ab") as file:
        file.write(b'x\tplain\t"quoted" text\t0\t0\t\t\t\ten\t\nshort\tline\nx\t\t\t\t\t\t\t\t\t\n\xff\n')
    source = open_source(path)
    last = list(source)[-1]
    assert (last.audio, last.text, last.id) == (str(tmp_path / "clips/plain.mp3"), '"quoted" text', "plain")
    assert [problem.where for problem in source.report.problems] == ["line 6", "line 7", "line 8"]


def test_a_table_of_other_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(OptionError, match="path and sentence"):
        list(open_source(path, "common-voice"))


def test_cells_are_read_in_any_order(tmp_path: Path, arrow: Any) -> None:
    rows = list(open_source(corpora.parquet(tmp_path, rows_per_group=2)))
    with AudioInputs() as sounds:
        for at in (2, 0, 1, 2, 1):
            assert sounds.get(rows[at]) == corpora.wav(corpora.ROWS[at]["tone"])


def test_an_arrow_file_and_an_arrow_stream_are_both_read(tmp_path: Path, arrow: Any) -> None:
    found = []
    for stream in (True, False):
        folder = tmp_path / str(stream)
        folder.mkdir()
        found.append([row.text for row in open_source(corpora.arrow(folder, stream=stream))])
    assert found[0] == found[1] == [row["text"] for row in corpora.ROWS]


@pytest.mark.parametrize(
    ("column", "values", "audio"),
    [
        ("audio", ["a.wav", "b/c.wav"], ["{folder}/a.wav", "{folder}/b/c.wav"]),
        ("audio", [{"bytes": None, "path": "a.wav"}, {"bytes": None, "path": "b"}], ["{folder}/a.wav", "{folder}/b"]),
        ("flac", [b"1", b"2"], ["{file}::flac/0", "{file}::flac/1"]),
    ],
)
def test_where_a_table_keeps_its_sounds(
    tmp_path: Path, arrow: Any, column: str, values: list[Any], audio: list[str]
) -> None:
    if isinstance(values[0], dict):
        kind = arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})
        values = arrow.array(values, kind)
    path = write(tmp_path / "x.parquet", {column: values, "sentence": ["one", "two"]})
    rows = list(open_source(path))
    assert [row.audio for row in rows] == [one.format(folder=tmp_path, file=path) for one in audio]
    assert [row.text for row in rows] == ["one", "two"]


def test_a_table_without_sounds_or_of_many_is_named(tmp_path: Path, arrow: Any) -> None:
    for columns in ({"text": ["a"]}, {"text": ["a"], "x": [b"1"], "y": [b"2"]}):
        path = write(tmp_path / "x.parquet", columns)
        with pytest.raises(OptionError, match="name the column"):
            list(open_source(path))
    row = open_source(SourceSpec(str(path), audio="y")).peek()
    assert row is not None
    with AudioInputs() as sounds:
        assert sounds.get(row) == b"2"
    with pytest.raises(OptionError, match=r"no column 'words'; its columns are text, x, y"):
        list(open_source(SourceSpec(str(path), audio="y", text="words")))


def test_bad_cells_are_counted(tmp_path: Path, arrow: Any) -> None:
    path = write(tmp_path / "x.parquet", {"audio": ["a", None, "b"], "duration": [1.0, 1.0, -1.0]})
    source = open_source(path)
    assert [row.id for row in source] == ["a"]
    assert [problem.where for problem in source.report.problems] == ["row 2", "row 3"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("test-00000-of-00002", "test-00001-of-00002", "train-00000-of-00001"), {"test": 2, "train": 1}),
        (("test.clean-00000-of-00001-0a1b", "test.other-00000-of-00001-0a1b"), {"test.clean": 1, "test.other": 1}),
        (("test/0", "test/1", "train/data-00000-of-00001"), {"test": 2, "train": 1}),
    ],
)
def test_the_splits_of_a_folder_are_not_mixed(
    tmp_path: Path, arrow: Any, names: tuple[str, ...], splits: dict[str, int]
) -> None:
    for name in names:
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        write(path, {"audio": [name]})
    for split, count in splits.items():
        assert len(list(open_source(SourceSpec(str(tmp_path), split=split)))) == count
    with pytest.raises(OptionError, match=f"holds the splits {', '.join(sorted(splits))}; choose one"):
        list(open_source(tmp_path))
    with pytest.raises(OptionError, match="no split 'validation'"):
        list(open_source(SourceSpec(str(tmp_path), split="validation")))


def test_parts_of_one_split_are_read_together(tmp_path: Path, arrow: Any) -> None:
    for name in ("test-00001-of-00002", "test-00000-of-00002"):
        write(tmp_path / f"{name}.parquet", {"audio": [name]})
    assert [row.id for row in open_source(tmp_path)] == ["test-00000-of-00002", "test-00001-of-00002"]
    write(tmp_path / "0.parquet", {"audio": [None]})
    source = open_source(tmp_path / "0.parquet")
    assert list(source) == []
    assert source.report.problems[0].where == "row 1"


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_table_cut_short_is_named(tmp_path: Path, arrow: Any, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"PAR1" + b"nothing" * 10)
    with pytest.raises(OptionError, match="truncated"):
        list(open_source(path))


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtra, match=r"linnet\[datasets\]"):
        list(open_source(tmp_path / "x.parquet"))


@pytest.fixture
def library(arrow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return pytest.importorskip("datasets", reason="datasets (the extra datasets) is not installed")


def test_a_data_set_of_the_hub_is_read_from_its_tables(
    tmp_path: Path, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}
    folder = tmp_path / "repo"
    folder.mkdir()
    corpora.parquet(folder)
    real = library.load_dataset

    def load_dataset(path: str, subset: str | None, *, split: str, revision: str | None) -> Any:
        asked.update(path=path, subset=subset, split=split, revision=revision)
        files = {"test": str(folder / "*.parquet")}
        return real("parquet", data_files=files, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(library, "load_dataset", load_dataset)
    spec = SourceSpec("owner/name", subset="clean", revision="abc")
    source = open_source(spec)
    assert (source.kind, source.name) == ("hub", "owner/name clean")
    rows = list(source)
    assert asked == {"path": "owner/name", "subset": "clean", "split": "test", "revision": "abc"}
    assert [(row.id, row.text) for row in rows] == [(row["id"], row["text"]) for row in corpora.ROWS]
    with AudioInputs() as sounds:
        assert [sounds.get(row) for row in rows] == [corpora.wav(row["tone"]) for row in corpora.ROWS]


@pytest.mark.parametrize("error", [ConnectionError("no network"), ValueError("Unknown split"), RuntimeError("script")])
def test_what_the_hub_does_not_give_is_an_error_with_the_way_out(
    library: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(library, "load_dataset", load_dataset)
    with pytest.raises(OptionError, match=f"owner/name test: is unavailable on the Hub .{error}.*HF_TOKEN"):
        open_source("owner/name").peek()


def test_a_row_of_a_table_needs_no_text(tmp_path: Path, arrow: Any) -> None:
    path = write(tmp_path / "x.parquet", {"audio": ["/a.wav"], "language": [3]})
    assert open_source(path).peek() == Utterance("/a.wav")


def test_domain_and_source_are_columns(tmp_path: Path, arrow: Any) -> None:
    path = write(tmp_path / "x.parquet", {"audio": ["/a.wav"], "domain": ["news"], "source": [7]})
    assert open_source(path).peek() == Utterance("/a.wav", domain="news", source="7")


def test_pieces_of_recordings_get_the_text_of_their_parents(
    tmp_path: Path, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "audio").mkdir()
    pieces = {"file_name": ["1.mp3", "2.mp3", "3.mp3"], "parent_id": [7, 7, 8], "chunk_index": [0, 1, 0]}
    kept = {
        "o/pieces": library.Dataset.from_dict(pieces),
        "o/whole": library.Dataset.from_dict({"id": ["7"], "transcript": ["all of it"], "audio": ["x"]}),
    }
    monkeypatch.setattr(library, "load_dataset", lambda path, *_, **__: kept[path])
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    source = open_source(SourceSpec("o/pieces", kind="hub-chunks", parent="o/whole"))
    rows = [(row.audio, row.text, row.recording, row.chunk) for row in source]
    assert rows == [
        (str(tmp_path / "audio/1.mp3"), "all of it", "7", 0),
        (str(tmp_path / "audio/2.mp3"), "all of it", "7", 1),
    ]
    assert "no text of the recording '8'" in source.report.problems[0].reason
    with pytest.raises(OptionError, match="need the key parent"):
        open_source("hub-chunks:o/pieces").peek()
