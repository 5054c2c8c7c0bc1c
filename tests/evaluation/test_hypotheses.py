"""Transcripts that exist already: every kind of file, found out and read; whose they are; and what is left over."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.data import Utterance
from linnet.data.sources import open_source
from linnet.errors import OptionError
from linnet.evaluation.hypotheses import KINDS, HypothesisFile, pair, read_hypotheses
from linnet.evaluation.hypotheses.text import TRN
from linnet.evaluation.log import RowLog, ScoredRow
from linnet.transcription.transcript import Segment, Transcript
from linnet.transcription.writers import make_writer

TEXTS = {"a-1": "one two", "a-2": "", "b-1": "three"}
WORD = st.text(st.characters(exclude_categories=("C", "Z", "P")), min_size=1, max_size=8)
NAME = st.from_regex(r"[a-z]{1,4}[-_/][0-9]{1,4}", fullmatch=True)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_json(path: Path, *rows: Any) -> Path:
    return write(path, *(json.dumps(row, ensure_ascii=False) for row in rows))


def texts(hypotheses: HypothesisFile) -> dict[str, str]:
    return {name: hypothesis.text for name, hypothesis in hypotheses.rows.items()}


def in_form(kind: str, path: Path, said: dict[str, str]) -> Path:
    """The same hypotheses in any kind of file."""
    if kind == "trn":
        return write(path, *(f"{text} ({name})" for name, text in said.items()))
    if kind == "kaldi":
        return write(path, *(f"{name} {text}".strip() for name, text in said.items()))
    if kind == "leaderboard":
        head = {"duration": 2.0, "time": 0.5, "text": "reference"}
        return write_json(path, *({"audio_filepath": name, **head, "pred_text": text} for name, text in said.items()))
    if kind == "evaluation":
        with RowLog.open(path, {"model": "m"}, {"device": "cpu"}) as log:
            for number, (name, text) in enumerate(said.items()):
                log.add(ScoredRow(number, name, f"{name}.wav", "reference", hypothesis=text, duration=2.0, seconds=0.5))
        return path
    return write_json(path, *({"id": name, "hypothesis": text} for name, text in said.items()))


NAMED_KINDS = ("jsonl", "evaluation", "leaderboard", "trn", "kaldi")


@pytest.mark.parametrize("kind", NAMED_KINDS)
def test_every_kind_is_found_out_and_read(tmp_path: Path, kind: str) -> None:
    path = in_form(kind, tmp_path / "file", TEXTS)
    for asked in (None, kind):
        hypotheses = read_hypotheses(path, asked)
        assert (hypotheses.kind, texts(hypotheses)) == (kind, TEXTS)
        (line,) = hypotheses.lines()
        assert line.startswith(f"{path}: 3 hypotheses, read as {kind} (")
    if kind in ("evaluation", "leaderboard"):
        assert {(row.reference, row.seconds, row.duration) for row in hypotheses.rows.values()} == {
            ("reference", 0.5, 2.0)
        }


@given(st.dictionaries(NAME, st.lists(WORD).map(" ".join), min_size=1, max_size=20), st.sampled_from(NAMED_KINDS))
def test_any_text_survives_any_kind(tmp_path_factory: pytest.TempPathFactory, said: dict[str, str], kind: str) -> None:
    path = in_form(kind, tmp_path_factory.mktemp("said") / "file", said)
    assert texts(read_hypotheses(path, kind)) == said


def test_transcripts_of_linnet_are_joined_by_their_source(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    said = {"a.wav": ("one", " two "), "b.wav": ("three", "")}
    writer = make_writer("jsonl")
    for source, parts in said.items():
        segments = tuple(Segment(float(place), place + 1.0, text) for place, text in enumerate(parts))
        with path.open("a") as file:
            file.write(writer.render(Transcript(segments, source=source)))
    hypotheses = read_hypotheses(path)
    assert (hypotheses.kind, texts(hypotheses)) == ("segments", {"a.wav": "one two", "b.wav": "three"})


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "x", "text": "one"}, ("x", "one", None)),
        ({"id": 7, "text": "one", "pred_text": "two"}, ("7", "two", "one")),
        ({"audio": "x.wav", "text": "one", "hypothesis": ""}, ("x.wav", "", "one")),
        ({"utt_id": "x", "hypothesis": "one"}, ("x", "one", None)),
        ({"audio_filepath": "x.wav", "offset": 1.5, "pred_text": "one"}, ("x.wav@1.500", "one", None)),
        ({"audio": "x.wav", "start": 2, "text": "one"}, ("x.wav@2.000", "one", None)),
        ({"id": "x", "hypothesis": None, "text": "one"}, None),
        ({"id": "x"}, None),
        ({"text": "one"}, None),
        ({"id": "x", "text": 3}, None),
        (["x", "one"], None),
    ],
)
def test_what_a_json_row_means(tmp_path: Path, row: Any, expected: tuple[str, str, str | None] | None) -> None:
    hypotheses = read_hypotheses(write_json(tmp_path / "a.jsonl", {"id": "first", "text": "good"}, row), "jsonl")
    found = [(one.id, one.text, one.reference) for one in hypotheses.rows.values()][1:]
    assert found == ([] if expected is None else [expected])
    assert hypotheses.bad.count == (expected is None)
    assert all(problem.startswith("line 2: ") for problem in hypotheses.bad.first)


def test_bad_rows_and_duplicates_are_counted_and_named(tmp_path: Path) -> None:
    good = [{"id": f"u{number}", "text": "x"} for number in range(3)]
    path = write(tmp_path / "a.jsonl", *map(json.dumps, good), *["{broken"] * 14, '{"id": "u1", "text": "later"}')
    hypotheses = read_hypotheses(path)
    assert texts(hypotheses) == {"u0": "x", "u2": "x", "u1": "later"}
    assert (hypotheses.bad.count, len(hypotheses.bad.first), hypotheses.duplicates.first) == (14, 10, ["u1"])
    said = hypotheses.lines()
    assert said[1] == f"{path}: 14 rows hold no hypothesis"
    assert said[2].startswith("  line 4: not JSON")
    assert "  and 4 more" in said
    assert f"{path}: 1 rows have the id of an earlier one; the last one counts" in said


def test_failures_of_an_evaluation_are_no_empty_hypotheses(tmp_path: Path) -> None:
    row = ScoredRow(0, "a", "a.wav", "x", hypothesis="one")
    with RowLog.open(tmp_path / "rows.jsonl", {}, {}) as log:
        log.add(replace(row, hypothesis=None, error="timeout"))
        log.add(replace(row, row=1, id="b", hypothesis=None, error="status 500"))
        log.add(row)
    hypotheses = read_hypotheses(tmp_path / "rows.jsonl")
    assert texts(hypotheses) == {"a": "one"}
    assert hypotheses.failed.first == ["b: status 500"]
    assert "1 utterances have an error instead of a hypothesis" in " ".join(hypotheses.lines())


# CTM


CTM = """;; a comment
a 1 1.50 0.40 two 0.9

a 1 0.10 0.30 one
b A 0.00 0.20 left
b B 0.10 0.20 right NA
a 1 * * <ALT_BEGIN>
a 1 2.00 0.20 um
a 1 * * <ALT>
a 1 2.00 0.20 uh
a 1 * * <ALT>
a 1 2.00 0.20 @
a 1 * * <ALT_END>
a 1 2.50 0.10 @
a 1 3.00 0.25 three 0.5 lex
"""


def test_words_of_a_ctm_file_are_joined_by_waveform_and_channel(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(CTM)
    hypotheses = read_hypotheses(path)
    assert (hypotheses.kind, hypotheses.bad.count) == ("ctm", 0)
    assert texts(hypotheses) == {"a": "one two um three", "b-A": "left", "b-B": "right"}
    words = hypotheses.rows["a"].words
    assert [(word.start, word.probability) for word in words] == [(0.1, None), (1.5, 0.9), (2.0, None), (3.0, 0.5)]
    assert words[1].end == pytest.approx(1.9)
    assert "2 alternatives skipped" in hypotheses.lines()[-1]


@given(st.lists(st.tuples(st.integers(0, 10**6), WORD.filter(lambda word: word != "@")), max_size=30), st.randoms())
def test_words_come_in_the_order_of_their_times(
    tmp_path_factory: pytest.TempPathFactory, words: list[tuple[int, str]], shuffle: random.Random
) -> None:
    words = [*dict(words).items(), (10**6 + 1, "last")]
    lines = [f"rec 1 {time / 100:.2f} 0.01 {word}" for time, word in words]
    shuffle.shuffle(lines)
    path = write(tmp_path_factory.mktemp("ctm") / "file.ctm", *lines)
    assert read_hypotheses(path).rows["rec"].text == " ".join(word for _, word in sorted(words))


@pytest.mark.parametrize(
    "line", ["a 1 x 0.5 word", "a 1 0.5 word", "a 1 -1.0 0.5 word", "a 1 0.1 nan word", "a 1 0 0 w x"]
)
def test_bad_lines_of_a_ctm_file(tmp_path: Path, line: str) -> None:
    hypotheses = read_hypotheses(write(tmp_path / "a.ctm", "a 1 0.1 0.2 good", line))
    assert texts(hypotheses) == {"a": "good"}
    assert hypotheses.bad.first[0].startswith("line 2: ")


def test_digits_spoken_one_by_one_are_no_ctm(tmp_path: Path) -> None:
    path = write(tmp_path / "digits.txt", "3 1 4 1 5 9", "2 7 1 8 2 8")
    assert read_hypotheses(path).kind == "lines"


# Plain text


def test_a_blank_line_is_an_empty_hypothesis_and_keeps_the_others_in_place(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"\xef\xbb\xbfone two\r\n\r\n  three \n\n")
    hypotheses = read_hypotheses(path, "lines")
    assert texts(hypotheses) == {"1": "one two", "2": "", "3": "three", "4": ""}
    pairing = pair(hypotheses, [Utterance(f"{name}.wav") for name in "abcd"])
    assert [one and one.text for one in pairing.found] == ["one two", "", "three", ""]
    with pytest.raises(OptionError, match=r"4 lines for 3 references; lines without ids must match"):
        pair(hypotheses, [Utterance(f"{name}.wav") for name in "abc"])


@pytest.mark.parametrize(
    ("lines", "known", "kind"),
    [
        (["hello world", "good day"], None, "lines"),
        (["hello world", "good day"], {"hello", "good"}, "kaldi"),
        (["hello\tworld", "good\tday"], None, "kaldi"),
        (["u-1 hello", "u-2"], None, "kaldi"),
        (["u-1 hello", "u-1 again"], None, "lines"),
        (["u-1 hello", "u-2"], {"v-1", "v-2"}, "lines"),
        (["1 2 3", "4 5 6"], None, "lines"),
    ],
)
def test_lines_with_and_without_ids_are_told_apart(
    tmp_path: Path, lines: list[str], known: set[str] | None, kind: str
) -> None:
    assert read_hypotheses(write(tmp_path / "a.txt", *lines), known=known).kind == kind


def test_comments_and_odd_lines_of_a_trn_file(tmp_path: Path) -> None:
    hypotheses = read_hypotheses(write(tmp_path / "a.trn", ";; made by", "one (two) three (id-1)", "no id", "(id-2)"))
    assert texts(hypotheses) == {"id-1": "one (two) three", "id-2": ""}
    assert hypotheses.bad.first == ["line 3: does not end in an id in parentheses"]
    assert TRN.fullmatch("x" * 100_000) is None


# Files that cannot be read


@pytest.mark.parametrize("kind", KINDS)
def test_other_encodings_name_the_line_and_the_byte(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes("a-1 fine (a-1)\na-2 naïve (a-2)\n".encode("latin-1"))
    with pytest.raises(OptionError) as caught:
        read_hypotheses(path, kind)
    assert f"{path}, line 2: byte 7 (0xef) is not UTF-8; convert the file" in str(caught.value)
    path.write_bytes("one\n".encode("utf-16"))
    with pytest.raises(OptionError, match=r"is UTF-16; convert it|byte 1 \(0xff\) is not UTF-8"):
        read_hypotheses(path, kind)


def test_files_without_hypotheses_say_so(tmp_path: Path) -> None:
    for content, told in (
        ("", "is empty; expected hypotheses"),
        (";; nothing\n", "is empty"),
        ("{]\n", "line 1: not JSON"),
    ):
        path = tmp_path / "file"
        path.write_text(content)
        with pytest.raises(OptionError, match=told):
            read_hypotheses(path)
    with pytest.raises(OptionError, match="found a folder"):
        read_hypotheses(tmp_path)
    with pytest.raises(OptionError, match="found nothing"):
        read_hypotheses(tmp_path / "missing")
    with pytest.raises(OptionError, match="did you mean 'ctm'"):
        read_hypotheses(path, "cmt")


def test_compressed_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(in_form("jsonl", tmp_path / "a", TEXTS).read_bytes()))
    assert texts(read_hypotheses(tmp_path / "a.jsonl.gz")) == TEXTS
    (tmp_path / "lines.gz").write_bytes(gzip.compress(b"one\n\ntwo\n"))
    assert texts(read_hypotheses(tmp_path / "lines.gz", "lines")) == {"1": "one", "2": "", "3": "two"}


# Whose they are


def test_rows_about_stretches_of_one_sound_find_theirs(tmp_path: Path) -> None:
    row = {"audio_filepath": "a.wav", "duration": 1.0, "text": "x"}
    path = write_json(tmp_path / "nemo.jsonl", *({**row, "offset": time, "pred_text": f"at {time}"} for time in (3, 1)))
    references = list(open_source(path))
    hypotheses = read_hypotheses(
        write_json(tmp_path / "theirs.jsonl", *map(json.loads, path.read_text().splitlines())), "jsonl"
    )
    assert [one and one.text for one in pair(hypotheses, references).found] == ["at 3", "at 1"]


def made(tmp_path: Path, *names: str) -> HypothesisFile:
    return read_hypotheses(in_form("jsonl", tmp_path / "file", {name: f"said {name}" for name in names}))


def test_a_reference_without_hypothesis_is_an_error_and_not_a_deletion(tmp_path: Path) -> None:
    references = [Utterance(f"{name}.wav", id=name) for name in ("u1", "u2", "u3")]
    hypotheses = made(tmp_path, "u3", "u1", "zz")
    pairing = pair(hypotheses, references)
    assert [one and one.text for one in pairing.found] == ["said u1", None, "said u3"]
    assert (pairing.missing.first, pairing.unknown.first) == (["u2"], ["zz"])
    assert pairing.lines() == [
        "hypotheses and references are matched by id",
        "1 references have no hypothesis (not scored)",
        "  u2",
        "1 hypotheses match no reference (not scored)",
        "  zz",
    ]
    counted = pair(hypotheses, references, missing="deletions")
    assert [one and one.text for one in counted.found] == ["said u1", "", "said u3"]
    assert counted.lines()[1] == "1 references have no hypothesis (all their words count as deleted)"


@pytest.mark.parametrize(
    ("names", "by"),
    [
        (("x1", "x2"), "id"),
        (("/data/one.flac", "/data/two.flac"), "audio path"),
        (("one", "two"), "audio file name"),
        (("s3://bucket/one.wav", "s3://bucket/two.wav"), "audio file name"),
        (("x2", "/data/one.flac", "two"), "audio file name"),
    ],
)
def test_hypotheses_are_found_by_what_fits_most(tmp_path: Path, names: tuple[str, ...], by: str) -> None:
    references = [Utterance("/data/one.flac", id="x1"), Utterance("/data/two.flac", id="x2")]
    pairing = pair(made(tmp_path, *names), references)
    assert pairing.by == by
    assert [one and one.id for one in pairing.found] == list(names[-2:])
    assert (pairing.missing.count, pairing.unknown.count) == (0, len(names) - 2)


def test_nothing_that_fits_shows_both_sides(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        pair(made(tmp_path, "p", "q"), [Utterance("a.wav", id="x")])
    assert "none of its 2 hypotheses matches a reference; its first id is 'p', the first reference is 'x'" in str(
        caught.value
    )
    with pytest.raises(OptionError, match="1 have the id of another one"):
        pair(made(tmp_path, "x"), [Utterance("a.wav", id="x"), Utterance("b.wav", id="x")])


def test_names_of_sounds_that_are_not_unique_decide_nothing(tmp_path: Path) -> None:
    references = [Utterance("s1/a.wav", id="x"), Utterance("s2/a.wav", id="y")]
    with pytest.raises(OptionError, match="matches a reference"):
        pair(made(tmp_path, "a"), references)


def slow_shares(words: list[tuple[float, float, str]], stretches: list[tuple[float, float]]) -> list[str]:
    """For every stretch the words whose middle it holds, none of which lies in a later one."""
    shares: list[list[str]] = [[] for _ in stretches]
    for start, end, text in sorted(words):
        fits = [(low, place) for place, (low, high) in enumerate(stretches) if low <= (start + end) / 2 < high]
        if fits:
            shares[max(fits)[1]].append(text)
    return [" ".join(share) for share in shares]


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 40)), min_size=1, max_size=30, unique_by=lambda word: word[0]
    ),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), min_size=1, max_size=8, unique_by=lambda one: one[0]),
)
def test_words_belong_to_the_stretch_their_middle_lies_in(
    tmp_path_factory: pytest.TempPathFactory, times: list[tuple[int, int]], stretches: list[tuple[int, int]]
) -> None:
    lines = [f"rec 1 {start / 4:.2f} {length / 4:.2f} w{start}" for start, length in times]
    path = write(tmp_path_factory.mktemp("ctm") / "rec.ctm", *lines)
    references = [Utterance("x/rec.wav", start=start / 4, end=(start + length) / 4) for start, length in stretches]
    pairing = pair(read_hypotheses(path), references)
    words = [(start / 4, (start + length) / 4, f"w{start}") for start, length in times]
    expected = slow_shares(words, [(start / 4, (start + length) / 4) for start, length in stretches])
    assert [one and one.text for one in pairing.found] == expected
    assert pairing.stray.count == len(times) - sum(len(share.split()) for share in expected)
    assert pairing.by == "recording and time"


def test_a_recording_that_the_ctm_file_does_not_know_is_missing_and_not_silent(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ctm", "rec 1 0.0 1.0 one", "other 1 0.0 1.0 two")
    references = [
        Utterance("rec.wav", start=0.0, end=2.0, id="r1"),
        Utterance("rec.wav", start=5.0, end=6.0, id="r2"),
        Utterance("lost.wav", start=0.0, end=2.0, id="l1"),
        Utterance("c.wav", start=0.0, id="n1", recording="other"),
    ]
    pairing = pair(read_hypotheses(path), references)
    assert [one and one.text for one in pairing.found] == ["one", "", None, "two"]
    assert pairing.missing.first == ["l1"]
