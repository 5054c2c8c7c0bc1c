"""What is written is read back by Linnet's readers, and by `datasets`, as what was kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from linnet.audio import load
from linnet.curation.outputs import FORMATS, OutputOptions, chosen_rows, write_selection
from linnet.curation.outputs.base import Chosen
from linnet.curation.select import select
from linnet.curation.selection import Selection
from linnet.data import Utterance, open_source, write_manifest
from linnet.data.samples import UtteranceReader
from linnet.errors import OptionError, OutputError
from tests.support import corpus_formats as corpora
from tests.support.pools import pool_of

SCORES = {"novelty": np.array([0.25, np.nan, 0.5, 0.75], np.float32)}


@pytest.fixture
def corpus(tmp_path: Path) -> list[Utterance]:
    """Three files, the second with two channels and one stretch of the third; the second is not kept."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    sound = corpora.tone(300.0, 1.0)
    for name in ("a", "b", "c"):
        soundfile.write(folder / f"{name}.wav", sound, corpora.RATE)
    a, b, c = (str(folder / f"{name}.wav") for name in ("a", "b", "c"))
    return [
        Utterance(a, text="three one", language="en", speaker="anna", id="id 1"),
        Utterance(b, text="bad", id="id 2"),
        Utterance(c, text="vier", language="de", speaker="ben", start=0.25, end=0.75, id="ben-x"),
        Utterance(c, text="fünf", language="de", speaker="ben", start=0.5, end=1.0, id="y"),
    ]


def rows(corpus: list[Utterance]) -> list[Chosen]:
    pool = pool_of([one.text for one in corpus], ids=[one.id for one in corpus], duration=[1.0, 1.0, 0.5, 0.5])
    found = select(pool)
    kept = np.array([True, False, True, True])
    selection: Selection = replace(found, kept=kept, weights=np.array([1, 0.5, 1, 1], np.float32))
    return list(chosen_rows(corpus, selection, SCORES))


TARGETS = {
    "linnet": "kept.jsonl",
    "nemo": "kept.json",
    "lhotse": "kept.jsonl.gz",
    "kaldi": "kaldi",
    "parquet": "k.parquet",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_back(corpus: list[Utterance], tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out" / TARGETS[kind]
    target.parent.mkdir()
    written = write_selection(target, rows(corpus), OutputOptions(kind))
    assert (written.rows, written.lines()) == (4 if kind == "nemo" else 3, [])
    source = open_source(target)
    found = {str(one.text): one for one in source}
    assert source.kind == kind
    assert source.report.problems == []
    assert set(found) == {"three one", "vier", "fünf"}
    assert [found[text].language for text in ("three one", "vier")] == ["en", "de"]
    assert [found[text].speaker for text in ("three one", "vier", "fünf")] == ["anna", "ben", "ben"]
    with UtteranceReader() as reader:
        for one in corpus[:1] + corpus[2:]:
            expected = reader.read(one).samples
            heard = reader.read(found[str(one.text)]).samples
            assert heard == pytest.approx(expected, abs=1e-4)


def test_scores_and_weights_are_beside(corpus: list[Utterance], tmp_path: Path) -> None:
    target = tmp_path / "kept.jsonl"
    write_selection(target, rows(corpus))
    first, second, _ = [json.loads(line) for line in target.read_text().splitlines()]
    assert (first["score_novelty"], first["weight"], first["duration"]) == (0.25, 1.0, 1.0)
    assert first["audio"] == "corpus/a.wav"  # inside the manifest's folder
    assert second["score_novelty"] == 0.5
    assert {"fate", "start", "end"} <= set(second)


def test_rows_of_nemo_that_are_not_kept_are_marked(corpus: list[Utterance], tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    write_selection(target, rows(corpus), OutputOptions("nemo"))
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line.get("_skipme") for line in lines] == [None, True, None, None]
    assert lines[2]["offset"] == 0.25


def test_a_manifest_of_archives_is_marked_as_it_is(tmp_path: Path) -> None:
    original = corpora.lines(
        tmp_path / "tarred.json",
        [
            {"audio_filepath": "a.wav", "shard_id": 0, "duration": 0.5, "text": "one", "other": [1]},
            {"audio_filepath": "", "text": "no sound"},
            {"audio_filepath": "b.wav", "shard_id": 0, "duration": 0.5, "text": "two"},
            {"audio_filepath": "c.wav", "shard_id": 1, "duration": 0.5, "text": "three", "_skipme": True},
        ],
    )
    with original.open("a") as file:
        file.write("no json\n")
    utterances = list(open_source(original, "nemo"))
    pool = pool_of(["one", "two"], ids=[one.id for one in utterances])
    selection = replace(select(pool), kept=np.array([True, False]))
    target = tmp_path / "marked.json"
    written = write_selection(target, chosen_rows(utterances, selection, {}), OutputOptions("nemo", marked=original))
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line.get("_skipme") for line in lines] == [None, True, True, True]
    assert lines[0]["other"] == [1]
    assert [line["audio_filepath"] for line in lines] == ["a.wav", "", "b.wav", "c.wav"]
    assert written.lines() == ["1 kept recordings were not written: a line of the manifest is not JSON"]
    assert [one.text for one in open_source(target, "nemo")] == ["one"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[::-1], "line 1: c.wav, but a.wav in the selection"),
        (lambda lines: lines[:2], "has no row c.wav that can be used"),
        (lambda lines: [*lines, lines[0] | {"audio_filepath": "d.wav"}], "line 4: d.wav, but nothing in the selection"),
        (lambda lines: [{"audio": line["audio_filepath"], "text": line["text"]} for line in lines], "has no row a.wav"),
    ],
)
def test_no_other_manifest_is_marked(tmp_path: Path, change: Any, message: str) -> None:
    lines = [{"audio_filepath": f"{name}.wav", "duration": 0.5, "text": name} for name in "abc"]
    utterances = list(open_source(corpora.lines(tmp_path / "all.json", lines), "nemo"))
    other = corpora.lines(tmp_path / "other.json", change(lines))
    chosen = chosen_rows(utterances, select(pool_of(["a", "b", "c"], ids=[one.id for one in utterances])), {})
    target = tmp_path / "marked.json"
    with pytest.raises(OptionError, match=message):
        write_selection(target, chosen, OutputOptions("nemo", marked=other))
    assert not target.exists()
    with pytest.raises(OptionError, match="--mark goes with --format nemo"):
        OutputOptions("linnet", marked=other)


def test_a_folder_of_something_else_is_not_replaced(corpus: list[Utterance], tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    for _ in range(2):  # an empty folder, and an earlier selection, are
        write_selection(folder, rows(corpus), OutputOptions("kaldi"))
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OptionError, match=r"home: holds thesis\.txt, and would be replaced"):
        write_selection(folder, rows(corpus), OutputOptions("kaldi"))
    assert (folder / "thesis.txt").read_text() == "years of work"
    with pytest.raises(OptionError, match="is a file: choose another --output"):
        write_selection(folder / "thesis.txt", rows(corpus), OutputOptions("kaldi"))
    with pytest.raises(OptionError, match="is a folder: choose a file"):
        OutputOptions().check(folder)


def test_kaldi_is_sorted_and_has_no_blanks(corpus: list[Utterance], tmp_path: Path) -> None:
    write_selection(tmp_path / "k", rows(corpus), OutputOptions("kaldi"))
    for file in (tmp_path / "k").iterdir():
        keys = [line.split(b" ")[0] for line in file.read_bytes().splitlines()]
        assert keys == sorted(set(keys)), file.name
    assert (tmp_path / "k" / "utt2spk").read_text() == "anna-id_1 anna\nben-x ben\nben-y ben\n"
    assert (tmp_path / "k" / "spk2utt").read_text() == "anna anna-id_1\nben ben-x ben-y\n"
    assert (tmp_path / "k" / "wav.scp").read_text().count("\n") == 2


def test_datasets_reads_sounds(corpus: list[Utterance], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    target = tmp_path / "k.parquet"
    write_selection(target, rows(corpus), OutputOptions("parquet"))
    held = datasets.Dataset.from_parquet(str(target), cache_dir=str(tmp_path / "cache"))
    assert isinstance(held.features["audio"], datasets.Audio)
    held = held.cast_column("audio", datasets.Audio(decode=False))
    assert held[0]["audio"]["bytes"] == Path(corpus[0].audio).read_bytes()
    assert load(held[1]["audio"]["bytes"]).duration == pytest.approx(0.5)
    assert held["score_novelty"][:] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(("kind", "reason"), [("lhotse", "inside another file"), ("kaldi", "inside another file")])
def test_what_a_format_cannot_name_is_counted(corpus: list[Utterance], tmp_path: Path, kind: str, reason: str) -> None:
    inside = [replace(row, utterance=replace(row.utterance, audio="x.tar::a.wav")) for row in rows(corpus)]
    written = write_selection(tmp_path / "out", inside, OutputOptions(kind))
    assert written.rows == 0
    assert "3 kept recordings were not written" in written.lines()[0]
    assert reason in written.lines()[0]


def test_paths_alone_cannot_name_stretches(corpus: list[Utterance], tmp_path: Path) -> None:
    target = tmp_path / "k.parquet"
    written = write_selection(target, rows(corpus), OutputOptions("parquet", embed=False))
    assert (written.rows, sum(written.left_out.values())) == (1, 2)
    assert [one.audio for one in open_source(target)] == [corpus[0].audio]


def test_a_sound_that_is_gone_is_counted(corpus: list[Utterance], tmp_path: Path) -> None:
    made = rows(corpus)
    Path(corpus[2].audio).unlink()
    written = write_selection(tmp_path / "k.parquet", made, OutputOptions("parquet"))
    assert (written.rows, sum(written.left_out.values())) == (1, 2)


def test_nothing_kept_is_an_empty_file(tmp_path: Path) -> None:
    for kind in FORMATS:
        assert write_selection(tmp_path / kind, [], OutputOptions(kind)).rows == 0
        assert (tmp_path / kind).exists()


def test_a_manifest_that_changed_is_refused(corpus: list[Utterance], tmp_path: Path) -> None:
    pool = pool_of(["one"] * 4, ids=[one.id for one in corpus])
    selection = select(pool)
    for changed in (corpus[1:], corpus[:3], [*corpus, corpus[0]]):
        with pytest.raises(OptionError, match=r"choose again|but had 4"):
            write_selection(tmp_path / "k.jsonl", chosen_rows(changed, selection, {}))
    assert not (tmp_path / "k.jsonl").exists()
    with pytest.raises(OutputError, match="folder is missing"):
        write_selection(tmp_path / "none" / "k.jsonl", [])
    with pytest.raises(OptionError, match="unknown format 'nemoo'; did you mean 'nemo'"):
        OutputOptions("nemoo")


def test_an_id_that_is_no_text_is_the_same_one(corpus: list[Utterance], tmp_path: Path) -> None:
    odd = [replace(corpus[0], id="a\udc80")]
    selection = replace(select(pool_of(["one"], ids=["a?"])), kept=np.array([True]))
    assert write_selection(tmp_path / "k.jsonl", chosen_rows(odd, selection, {})).rows == 1


def test_a_kept_manifest_is_a_manifest(corpus: list[Utterance], tmp_path: Path) -> None:
    """The audio of a manifest that moves elsewhere is found from there."""
    write_manifest(tmp_path / "corpus" / "m.jsonl", [replace(one, audio=Path(one.audio).name) for one in corpus])
    source: Any = open_source(tmp_path / "corpus" / "m.jsonl")
    utterances = list(source)
    selection = select(pool_of(["one"] * 4, ids=[one.id for one in utterances]))
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "k.jsonl"
    write_selection(target, chosen_rows(utterances, replace(selection, kept=np.ones(4, bool)), {}))
    assert all(Path(one.audio).is_file() for one in open_source(target))
