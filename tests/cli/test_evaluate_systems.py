"""`linnet evaluate` beyond a Linnet model on a manifest: other systems, given transcripts, suites, comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.calling import Call, make_call
from tests.support.fake_recognizer import FakeRecognizer


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sixteen utterances of four speakers; a fake recognizer hears the names of the files."""
    words = ["one two", "three", "four five", "six seven eight"]
    rows = [
        {"audio": f"{text.replace(' ', '-')}.{n}.wav", "text": text, "id": f"u{n}", "speaker": f"s{n // 4}"}
        for n, text in enumerate(words * 4)
    ]
    return write(tmp_path / "corpus.jsonl", *rows)


def sound(path: Path, seconds: float = 1.0) -> Path:
    wave = 0.1 * np.sin(np.arange(round(16_000 * seconds)) * 0.3)
    soundfile.write(path, wave.astype(np.float32), 16_000)
    return path


def test_the_default_command_is_run(call: Call, corpus: Path) -> None:
    short = call("evaluate", corpus, "--json", model=FakeRecognizer())
    whole = call("evaluate", "run", corpus, "--json", model=FakeRecognizer())
    assert short.status == whole.status == 0
    assert json.loads(short.out)["wer"] == json.loads(whole.out)["wer"] == 0.0
    told = call("evaluate", "--help").out
    assert all(name in told for name in ("run", "compare", "contamination"))
    done = call("evaluate", model=FakeRecognizer())
    assert done.status == 1
    assert "nothing to score: name a manifest or another source, or a --suite" in done.err


def test_cer_protocol_and_silence_are_told(call: Call, tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl",
        {"audio": "ice-cream.wav", "text": "icecream", "language": "en"},
        {"audio": "silence.wav", "text": ""},
        {"audio": "hello.wav", "text": ""},
    )
    plain = json.loads(call("evaluate", path, "--json", model=FakeRecognizer()).out)
    assert (plain["wer"], plain["score"]["protocol"]) == (3.0, "plain")
    assert plain["score"]["silence"] == {"utterances": 2, "with_words": 1, "words": 1}
    board = json.loads(call("evaluate", path, "--protocol", "open-asr", "--json", model=FakeRecognizer()).out)
    assert (board["wer"], board["score"]["protocol"]) == (1.0, "open-asr")
    table = call("evaluate", path, model=FakeRecognizer()).out
    assert "words on silence  1 word in 1 of 2 utterances without speech (50.0%)" in table
    assert "protocol          plain (rapidfuzz" in table
    assert call("evaluate", path, "--protocol", "x", model=FakeRecognizer()).err.endswith(
        "protocol 'x' is unknown: use plain or open-asr\n"
    )


def test_transcripts_that_exist_already(call: Call, corpus: Path, tmp_path: Path) -> None:
    given = tmp_path / "heard.txt"
    given.write_text("".join(f"u{n} {text}\n" for n, text in enumerate(["one two", "tree", "four five"] * 5)))
    done = call("evaluate", corpus, "--hypotheses", given, "--output", tmp_path / "rows.jsonl", "--json")
    assert done.status == 1
    assert "1 references have no hypothesis (not scored)" in done.err
    data = json.loads(done.out)
    assert (data["utterances"], data["failed"]) == (15, 1)
    counted = call("evaluate", corpus, "--hypotheses", given, "--missing", "deletions", "--json")
    assert counted.status == 0
    assert json.loads(counted.out)["deletions"] == data["deletions"] + 3
    again = call("evaluate", corpus, "--hypotheses", given, "--output", tmp_path / "rows.jsonl", "--json")
    assert "15 of 16 utterances are already scored" in again.err
    given.write_text(given.read_text() + "u15 six seven eight\n")
    other = call("evaluate", corpus, "--hypotheses", given, "--output", tmp_path / "rows.jsonl")
    assert "was made with another revision" in other.err
    assert "none.txt: " in call("evaluate", corpus, "--hypotheses", tmp_path / "none.txt").err


def test_rows_that_hold_their_hypotheses(call: Call, tmp_path: Path) -> None:
    path = write(
        tmp_path / "board.jsonl",
        {"audio_filepath": "a.wav", "duration": 3.0, "time": 0.5, "text": "one two", "pred_text": "one too"},
        {"audio_filepath": "b.wav", "duration": 1.0, "time": 0.5, "text": "three", "pred_text": "three"},
    )
    done = call("evaluate", path, "--hypotheses", "source", "--json")
    data = json.loads(done.out)
    assert (done.status, data["words"], data["substitutions"], data["rtfx"]) == (0, 3, 1, 4.0)
    assert "read as leaderboard" in done.err


def test_pieces_of_a_recording_are_scored_as_one(call: Call, tmp_path: Path) -> None:
    rows = [
        {"audio": f"{text}.wav", "text": "one two three", "recording": "call", "chunk": chunk}
        for chunk, text in ((1, "three"), (0, "one-two"))
    ]
    data = json.loads(call("evaluate", write(tmp_path / "c.jsonl", *rows), "--json", model=FakeRecognizer()).out)
    assert (data["utterances"], data["words"], data["wer"]) == (1, 3, 0.0)
    rows[0]["audio"] = "bad.wav"
    done = call("evaluate", write(tmp_path / "c.jsonl", *rows), "--json", model=FakeRecognizer())
    assert (done.status, json.loads(done.out)["failed"]) == (1, 1)


def test_a_stretch_of_a_recording_is_heard_alone(call: Call, tmp_path: Path) -> None:
    sound(tmp_path / "long.wav", 3.0)
    rows = [{"audio": "long.wav", "text": "", "start": 1.0, "end": 1.5}]
    recognizer = FakeRecognizer()
    seen: list[int] = []
    hear = recognizer.transcribe_many

    def listening(sources: Any, **more: Any) -> Any:
        opened = list(sources)
        seen.extend(len(one.read(0, 10**9)) for one in opened)
        return hear([one.name for one in opened], **more)

    recognizer.transcribe_many = listening  # type: ignore[method-assign]
    done = call("evaluate", write(tmp_path / "c.jsonl", *rows), model=recognizer)
    assert done.status == 0, done.err
    assert seen == [8000]


def test_two_systems_are_compared(call: Call, corpus: Path, tmp_path: Path) -> None:
    files = {}
    for name, wrong in (("good", 99), ("poor", 2)):
        given = tmp_path / f"{name}.txt"
        texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
        given.write_text("".join(f"u{n} {'x' if n % wrong == 0 else text}\n" for n, text in enumerate(texts)))
        files[name] = tmp_path / f"{name}.jsonl"
        assert call("evaluate", corpus, "--hypotheses", given, "--output", files[name]).status in (0, 1)
    done = call("evaluate", "compare", files["good"], files["poor"], "--by", "speakers", "--json")
    assert done.status == 0, done.err
    (found,) = json.loads(done.out)
    assert found["winner"] == str(files["good"])
    assert found["utterances"] == 16
    told = call("evaluate", "compare", files["good"], files["poor"]).out
    assert str(files["good"]) in told.splitlines()[0]
    alone = call("evaluate", "compare", files["good"])
    assert (alone.status, alone.out) == (1, "")
    assert "give two or more files of rows" in alone.err
    assert "given twice" in call("evaluate", "compare", files["good"], files["good"]).err
    assert "is not a rows file" in call("evaluate", "compare", files["good"], corpus).err


def test_a_suite_is_a_table_with_its_average(call: Call, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"audio": "one.wav", "text": "one"})
    write(tmp_path / "b.jsonl", {"audio": "two.wav", "text": "too"})
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "about: mine\nsets:\n- {name: a, path: a.jsonl, table: t}\n- {name: b, path: b.jsonl, table: t}\n"
        "- {name: c, path: missing.jsonl, table: t}\n"
    )
    (tmp_path / "out").mkdir()
    done = call("evaluate", "--suite", suite, "--output", tmp_path / "out", model=FakeRecognizer())
    assert done.status == 1
    assert "set c: skipped: " in done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0][:2] == ["set", "WER"]
    assert lines[1][:2] == ["a", "0.00"]
    assert lines[2][:2] == ["b", "100.00"]
    assert lines[3][:2] == ["c", "-"]
    assert lines[4][:4] == ["average", "of", "t", "50.00"]
    assert "1 MISSING" in done.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.evaluation.jsonl", "b.evaluation.jsonl"]
    data = json.loads(call("evaluate", "--suite", suite, "--json", model=FakeRecognizer()).out)
    assert (data["averages"][0]["rate"], data["averages"][0]["missing"]) == (50.0, 1)
    assert "must be an existing folder" in call("evaluate", "--suite", suite, "--output", tmp_path / "x.jsonl").err
    assert "not both" in call("evaluate", tmp_path / "a.jsonl", "--suite", suite).err


def test_the_report_is_written(call: Call, corpus: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = call("evaluate", corpus, "--report", page, model=FakeRecognizer())
    assert done.status == 0, done.err
    assert f"report written to {page}" in done.err
    text = page.read_text()
    assert "fake on" in text
    assert text.lstrip().lower().startswith("<!doctype html>")


def test_the_report_counts_as_the_figure_does(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    path = write(
        tmp_path / "c.jsonl",
        {"audio": "icecream.wav", "text": "ice cream", "language": "en"},
        {"audio": "an-icecream.wav", "text": "the ice cream", "language": "en"},
    )
    page = tmp_path / "report.html"
    asked = ("--protocol", "open-asr", "--normalizer", "basic", "--report", page)
    done = call("evaluate", path, *asked, model=FakeRecognizer())
    assert "1 substituted, 0 deleted, 0 inserted" in done.out
    for count, what in ((1, "substituted"), (0, "deleted"), (0, "inserted")):
        assert f"{count} {what}</li>" in page.read_text()


def test_contamination(call: Call, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("same", "mine"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(32_000), 16_000)
    texts = ["the quick brown fox jumps over the lazy dog", "a text about something else entirely"]
    train = write(tmp_path / "train.jsonl", {"audio": "same.wav", "text": texts[0]})
    test = write(
        tmp_path / "test.jsonl", {"audio": "same.wav", "text": texts[1]}, {"audio": "mine.wav", "text": texts[1]}
    )
    done = call("evaluate", "contamination", train, test, "--output", tmp_path / "matches.jsonl")
    assert done.status == 0, done.err
    assert done.out.startswith("1 of 2 evaluation utterances are in the training data")
    (match,) = [json.loads(line) for line in (tmp_path / "matches.jsonl").read_text().splitlines()]
    assert (match["kind"], Path(match["evaluation"]).name) == ("same-audio", "same.wav")
    nothing = call("evaluate", "contamination", train, test, "--no-audio", "--json")
    assert json.loads(nothing.out)["contaminated"] == 0


def test_the_former_name_of_an_option_names_the_new_one(call: Call, tmp_path: Path) -> None:
    rows = write(tmp_path / "a.jsonl", {"audio": "a.wav", "text": "one"})
    done = call("evaluate", "contamination", rows, rows, "--no-sounds")
    assert done.status == 1
    assert "--sounds and --no-sounds were renamed: use --audio or --no-audio" in done.err


def test_one_bad_row_anywhere_ends_nothing_and_is_shown(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the manifest, in the hypotheses, in the rows of an earlier run; and many rows say how far they are."""
    monkeypatch.setattr("linnet.evaluation.pace.EVERY", 0.0)
    said = [{"audio": f"{n}.wav", "id": f"u{n}", "text": "one two", "language": "en"} for n in range(520)]
    manifest = write(tmp_path / "corpus.jsonl", *said)
    heard = write(tmp_path / "heard.jsonl", *({"id": row["id"], "text": "one two"} for row in said))
    bad = ["[" * 100_000, '{"audio": "x.wav", "text": "a", "duration": ' + "9" * 400 + "}", "9" * 5000]
    for path in (manifest, heard):
        with path.open("a") as file:
            file.write("\n".join(bad) + "\n")
    rows = tmp_path / "rows.jsonl"
    done = call("evaluate", manifest, "--hypotheses", heard, "--output", rows)
    assert done.status == 1  # since rows of the manifest are left out
    assert "Traceback" not in done.err
    assert f"{manifest}: 3 of 523 rows cannot be used" in done.err
    assert "line 521: its JSON is nested too deeply" in done.err
    assert f"{heard}: 3 rows hold no hypothesis" in done.err
    assert "512 of 520 rows scored" in done.err
    assert "520 scored" in done.out
    with rows.open("a") as file:
        file.write("\n".join(bad) + "\n")
    again = call("evaluate", manifest, "--hypotheses", heard, "--output", rows)
    assert f"{rows}: 3 rows cannot be used and are scored again" in again.err
    assert "520 of 520 utterances are already scored" in again.err
    assert again.out.splitlines()[:3] == done.out.splitlines()[:3]
    compared = call("evaluate", "compare", rows, write(tmp_path / "other.jsonl", *map(json.loads, good(rows))))
    assert compared.status == 0, compared.err
    assert f"{rows}: 3 rows cannot be used and are skipped" in compared.err


def good(rows: Path) -> list[str]:
    """The lines of a file of rows that are whole."""
    return [line for line in rows.read_text().splitlines() if line.startswith("{") and "9" * 400 not in line]


@pytest.mark.parametrize("kind", ["jsonl", "lines"])
def test_transcripts_that_are_scored_in_part_are_gone_on_with(
    call: Call, corpus: Path, tmp_path: Path, kind: str
) -> None:
    """Hypotheses of rows that are done belong to references all the same."""
    said = [json.loads(line) for line in corpus.read_text().splitlines()]
    heard = tmp_path / "heard.txt"
    as_json = kind == "jsonl"
    heard.write_text(
        "".join((json.dumps({"id": r["id"], "text": r["text"]}) if as_json else r["text"]) + "\n" for r in said)
    )
    rows = tmp_path / "rows.jsonl"
    whole = call("evaluate", corpus, "--hypotheses", heard, "--output", rows)
    assert whole.status == 0, whole.err
    rows.write_text("\n".join(rows.read_text().splitlines()[:7]) + "\n")
    again = call("evaluate", corpus, "--hypotheses", heard, "--output", rows)
    assert again.status == 0, again.err
    assert "5 of 16 utterances are already scored" in again.err
    assert "match no reference" not in again.err
    assert again.out == whole.out
