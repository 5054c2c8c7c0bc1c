import json
from pathlib import Path

import pytest

from linnet.data import Utterance, read_manifest, write_manifest
from linnet.data.manifest import WordTime
from linnet.errors import LinnetError


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    rows = [
        Utterance("a/ü.wav", "fünf eins", 1.25, "de", "one", "anna"),
        Utterance("b.wav", text=""),
        Utterance("c.wav"),
        Utterance("https://example.org/d.flac", "two", 2.0),
    ]
    assert write_manifest(path, rows) == 4
    read = list(read_manifest(path))
    assert [row.audio for row in read] == [
        str(tmp_path / "a/ü.wav"),
        str(tmp_path / "b.wav"),
        str(tmp_path / "c.wav"),
        "https://example.org/d.flac",
    ]
    for got, wanted in zip(read, rows, strict=True):
        assert (got.text, got.duration, got.language, got.id, got.speaker) == (
            wanted.text,
            wanted.duration,
            wanted.language,
            wanted.id,
            wanted.speaker,
        )


def test_an_absolute_path_stays_and_the_id_is_the_audio_as_written(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "/data/x.wav"}\n\n{"audio": "y.wav", "id": 7, "extra": [1]}\n')
    first, second = read_manifest(path)
    assert (first.audio, first.id) == ("/data/x.wav", "/data/x.wav")
    assert (second.audio, second.id) == (str(tmp_path / "y.wav"), "7")


def test_domain_and_source_are_names_and_what_other_tools_keep_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance("a.wav", domain="news", source="archive")])
    path.write_text(path.read_text() + '{"audio": "b.wav", "domain": 3, "source": {"type": "file"}}\n')
    assert [(row.domain, row.source) for row in read_manifest(path)] == [("news", "archive"), ("3", None)]


def test_words_with_times_are_kept_and_other_things_of_that_name_are_not(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    words = (WordTime("fünf", 0.25, 0.5), WordTime("eins", 0.5, 0.5))
    write_manifest(path, [Utterance("a.wav", "fünf eins", words=words), Utterance("b.wav", words=())])
    path.write_text(path.read_text() + '{"audio": "c.wav", "words": 12}\n{"audio": "d.wav", "words": ["one"]}\n')
    found = [row.words for row in read_manifest(path)]
    assert found == [words, (), None, None]


@pytest.mark.parametrize("times", ['"start": 1.0', '"start": 2.0, "end": 1.0', '"start": -1, "end": 1', '"end": NaN'])
def test_a_word_without_times_is_refused(times: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"audio": "a.wav", "words": [{{"word": "one", {times}}}]}}\n')
    with pytest.raises(LinnetError, match="line 1: "):
        list(read_manifest(path))


def test_the_id_of_an_address_is_the_address_without_its_secrets(tmp_path: Path) -> None:
    url = "https://me:s3cret@host/a.wav?key=s3cret"
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"audio": "{url}"}}\n')
    (found,) = read_manifest(path)
    assert found.audio == url
    assert found.id.startswith("https://host/a.wav?…")
    assert "s3cret" not in found.id + Utterance(url, start=1.0).id


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"text": "a"}', "'audio'"),
        ('{"audio": 3}', "'audio'"),
        ('{"audio": "a", "text": 5}', "'text'"),
        ('{"audio": "a", "duration": -1}', "'duration'"),
        ('{"audio": "a", "duration": NaN}', "'duration'"),
        ('{"audio": "a", "duration": true}', "'duration'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "good.wav"}\n' + line + "\n")
    rows = read_manifest(path)
    assert next(rows).audio.endswith("good.wav")
    with pytest.raises(LinnetError) as caught:
        next(rows)
    assert f"{path}, line 2" in str(caught.value)
    assert says in str(caught.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(LinnetError, match=r"gone\.jsonl"):
        list(read_manifest(tmp_path / "gone.jsonl"))


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(LinnetError, match="line 1"):
        list(read_manifest(path))


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"audio": "a"}) + "\nbroken\n")
    assert next(read_manifest(path)).id == "a"


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance("old.wav")])

    def failing() -> object:
        yield Utterance("new.wav")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(path, failing())
    assert [row.id for row in read_manifest(path)] == ["old.wav"]
    assert list(tmp_path.iterdir()) == [path]
