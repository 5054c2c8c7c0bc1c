"""Kaldi folders: segments, files in any order, and lines that are wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data import Utterance, open_source
from linnet.errors import OptionError
from tests.support import corpus_formats as corpora


def write(folder: Path, **tables: str) -> Path:
    for name, content in tables.items():
        (folder / {"scp": "wav.scp"}.get(name, name)).write_text(content, encoding="utf-8")
    return folder


def read(folder: Path) -> tuple[list[Utterance], list[str]]:
    source = open_source(folder)
    assert source.kind == "kaldi"
    return list(source), [str(problem) for problem in source.report.problems]


def test_segments(tmp_path: Path) -> None:
    rows, problems = read(
        write(
            tmp_path,
            scp="call1 /d/call1.wav\ncall2 /d/call2.wav\n",
            segments="call1-a call1 0.5 2.25\ncall1-b call1 3 -1\ncall2-a call2 0 1 1\n",
            text="call1-a one\tTWO  three\ncall1-b\n",
            utt2spk="call1-a anna\ncall2-a ben\n",
        )
    )
    assert problems == []
    assert [(row.id, row.recording, row.start, row.end, row.duration, row.channel) for row in rows] == [
        ("call1-a", "call1", 0.5, 2.25, 1.75, None),
        ("call1-b", "call1", 3.0, None, None, None),
        ("call2-a", "call2", 0.0, 1.0, 1.0, 1),
    ]
    assert [(row.text, row.speaker) for row in rows] == [("one\tTWO  three", "anna"), ("", None), (None, "ben")]


def test_lines_that_are_wrong_are_counted_and_the_others_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        scp="a /d/a.wav\nb sph2pipe -f wav /d/b.sph |\nc /d/all.ark:1017\nd\ne /d/e.wav\n",
        text="a one\nb two\nbb nobody\ne three\nz zero\n",
        utt2dur="a 1.5\ne long\n",
    )
    rows, problems = read(folder)
    assert [(row.id, row.text, row.duration) for row in rows] == [("a", "one", 1.5)]
    wanted = [
        ("wav.scp, line 2", "which is not run"),
        ("text, line 3", "bb has no audio"),
        ("wav.scp, line 3", "Kaldi archive"),
        ("wav.scp, line 4", "expected the path"),
        ("wav.scp, line 5, e", "expected seconds"),
        ("text, line 5", "z has no audio"),
    ]
    for problem, (where, says) in zip(problems, wanted, strict=True):
        assert problem.startswith(f"{where}: ")
        assert says in problem


def test_segments_that_are_wrong(tmp_path: Path) -> None:
    _, problems = read(
        write(
            tmp_path,
            scp="r /d/r.wav\n",
            segments="a gone 0 1\nb r 2 1\nc r x 1\nd r\n",
        )
    )
    for problem, says in zip(problems, ["no recording gone", "0 <= START", "START END", "START END"], strict=True):
        assert says in problem


def test_text_that_is_not_utf8_is_a_problem_of_its_utterance(tmp_path: Path) -> None:
    write(tmp_path, scp="a /a.wav\nb /b.wav\n")
    (tmp_path / "text").write_bytes("a über\nb two\n".encode("latin-1"))
    rows, problems = read(tmp_path)
    assert [row.id for row in rows] == ["b"]
    assert "wav.scp, line 1, a: its text, speaker or language: byte 1 (0xfc) is not UTF-8" in problems[0]


def test_paths_are_relative_to_where_the_recipe_ran(tmp_path: Path) -> None:
    corpora.sounds(tmp_path / "wav")
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    rows, _ = read(write(folder, scp="a wav/a.wav\nb wav/b.wav\n"))
    assert [Path(row.audio) for row in rows] == [tmp_path / "wav/a.wav", tmp_path / "wav/b.wav"]


def test_a_folder_without_wav_scp_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"wav\.scp"):
        list(open_source(f"kaldi:{tmp_path}"))


names = st.lists(st.text("ab-1Z", min_size=1, max_size=4), unique=True, min_size=1, max_size=8)


@settings(max_examples=40)
@given(sounds=names, texts=names, seed=st.integers(0, 3), ordered=st.booleans())
def test_sorted_and_unsorted_files_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, sounds: list[str], texts: list[str], seed: int, ordered: bool
) -> None:
    if ordered:
        sounds, texts = sorted(sounds), sorted(texts)
    else:
        random.Random(seed).shuffle(texts)
    folder = tmp_path_factory.mktemp("kaldi")
    scp = "".join(f"{name} /{name}.wav\n" for name in sounds)
    source = open_source(write(folder, scp=scp, text="".join(f"{name} t{name}\n" for name in texts)))
    assert [(row.id, row.text) for row in source] == [(name, f"t{name}" if name in texts else None) for name in sounds]
    assert source.report.bad == len(set(texts) - set(sounds))
