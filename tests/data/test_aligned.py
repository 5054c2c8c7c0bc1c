"""Manifests with word times: what is written comes back, and what cannot be is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.data.aligned import AlignedUtterance, aligned_line, read_aligned, words_of
from linnet.data.fields import BadRow, parse_json
from linnet.data.manifest import Utterance, WordTime
from linnet.errors import LinnetError

WORDS = st.lists(st.tuples(st.text("abcß字'", min_size=1), st.integers(0, 400), st.integers(0, 400)), max_size=8)


@given(WORDS)
def test_what_is_written_comes_back(given_words):
    words, time = [], 0
    for text, gap, length in given_words:
        words.append(WordTime(text, round((time + gap) / 1000, 3), round((time + gap + length) / 1000, 3)))
        time += gap + length
    utterance = Utterance("/a.wav", text=" ".join(word.word for word in words), duration=5.0)
    assert words_of(parse_json(aligned_line(utterance, words).encode())) == tuple(words)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "one"}, "linnet data align"),
        ({"text": "one", "words": []}, "no words"),
        ({"text": "one", "words": "one"}, "linnet data align"),
        ({"words": [{"word": "one", "start": 1.0}]}, "must be"),
        ({"words": [{"word": "one", "start": "x", "end": 2}]}, "must be"),
        ({"words": [{"word": " ", "start": 1.0, "end": 2.0}]}, "letters"),
        ({"words": [{"word": "one", "start": 2.0, "end": 1.0}]}, "start before its end"),
        ({"words": [{"word": "one", "start": 0.0, "end": float("nan")}]}, "start before its end"),
        (
            {"words": [{"word": "one", "start": 0, "end": 2}, {"word": "two", "start": 0, "end": 1}]},
            "ends before 'one'",
        ),
        ({"duration": 1.0, "words": [{"word": "one", "start": 0, "end": 2}]}, "after the recording"),
    ],
)
def test_rows_that_cannot_be_used_say_why(tmp_path, row, says):
    with pytest.raises(BadRow, match=says):
        words_of(row, row.get("duration"))
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"audio": "a.wav", **row}) + "\n\nnot json\n" + json.dumps({"audio": "b.wav", "text": ""})
    )
    bad, broken, silent = read_aligned(path)
    assert says.split()[0] in bad
    assert f"{path}, line 1" in bad
    assert "line 3" in broken
    assert isinstance(silent, AlignedUtterance)
    assert silent.words == ()
    assert silent.utterance.audio == str(tmp_path / "b.wav")


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(LinnetError, match=r"none\.jsonl"):
        list(read_aligned(tmp_path / "none.jsonl"))
