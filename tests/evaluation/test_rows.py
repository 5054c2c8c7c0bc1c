"""Rows read from their file, added up, and scored anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from linnet.errors import OptionError
from linnet.evaluation.log import RowLog, ScoredRow
from linnet.evaluation.rows import read_rows, rescore, score_rows
from linnet.scoring.scores import WordErrors
from linnet.text.normalizers import Normalizers

IDS = {name: Normalizers(name).id(None) for name in ("english", "unicode")}


def rows() -> list[ScoredRow]:
    return [
        ScoredRow(0, "a", "a.wav", "It's RED.", "en", hypothesis="it is read"),
        ScoredRow(1, "b", "b.wav", "", "de", hypothesis="Oh, je!"),
        ScoredRow(2, "c", "c.wav", "Ja", "de", error="no sound"),
        ScoredRow(3, "d", "d.wav", "Größe", "de", hypothesis=None),
    ]


def test_rows_are_scored_anew_and_added_up() -> None:
    anew = list(rescore(rows(), Normalizers("auto")))
    assert [row.normalizer for row in anew] == [IDS["english"], IDS["unicode"], None, IDS["unicode"]]
    assert [row.counts for row in anew] == [WordErrors(3, 1), WordErrors(0, 0, 0, 2), WordErrors(), WordErrors(1, 0, 1)]
    score = score_rows(anew)
    assert (score.words, score.utterances) == (WordErrors(4, 1, 1, 2), 3)
    assert score.characters == WordErrors(len("it is red") + len("größe"), 0, 5, 1 + len("oh je"))
    assert (score.silence.utterances, score.silence.with_words, score.silence.words) == (1, 1, 2)
    assert score.normalizers == {IDS["english"]: 1, IDS["unicode"]: 2}


def test_a_row_may_be_scored_verbatim() -> None:
    verbatim = next(rescore(rows(), Normalizers("none")))
    assert (verbatim.normalized_text, verbatim.words, verbatim.substitutions) == ("It's RED.", 2, 2)
    assert replace(verbatim, normalized_text=None).text == "It's RED."


HEADER = {"model": "fake", "revision": "1"}


def write(path: Path, *, session: str | None = None) -> Path:
    with RowLog.open(path, HEADER, {"device": "cpu"}) as log:
        for row in reversed(rows()):
            log.add(replace(row, session=session))
    return path


@pytest.mark.parametrize("session", [None, "a meeting"])
def test_rows_come_back_in_their_order(tmp_path: Path, session: str | None) -> None:
    found = read_rows(write(tmp_path / "rows.jsonl", session=session))
    assert found.rows == [replace(row, session=session) for row in rows()]
    assert found.sessions == [{"device": "cpu"}]
    assert (found.header["model"], found.header["revision"]) == ("fake", "1")


def test_a_torn_line_is_left_out_and_the_last_of_two_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    with RowLog.open(path, HEADER, {}) as log:
        log.add(replace(rows()[2], error=None, hypothesis="Ja"))
    with path.open("a") as file:
        file.write('{"row": 3, "id": "d", "hyp')
    found = read_rows(path)
    assert [row.hypothesis for row in found.rows] == ["it is read", "Oh, je!", "Ja", None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "rows.jsonl: cannot be read: No such file"),
        ("", "rows.jsonl: is not a rows file: make one with  linnet evaluate MANIFEST --output rows.jsonl"),
        ('{"audio": "a.wav"}\n', "is not a rows file"),
        ("[1]\n", "is not a rows file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionError, match=message):
        read_rows(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{torn}", "line 3: not JSON"),
        ('{"row": 1, "id": "a"}', "line 3: the key 'audio' is missing"),
        ('{"row": 1, "id": "a", "audio": "a", "text": 5}', "line 3: the key 'text' cannot be 5"),
        ('{"row": -1, "id": "a", "audio": "a", "text": ""}', "line 3: the key 'row' cannot be -1"),
    ],
)
def test_a_damaged_row_is_left_out_and_told(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path / "rows.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n")
    found = read_rows(path)
    assert found.rows == rows()
    assert found.bad[0] == f"{path}: 1 rows cannot be used and are skipped"
    assert found.bad[1].startswith(f"  {said}")
