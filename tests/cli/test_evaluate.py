"""`linnet evaluate`: what is measured, kept and told; in this process, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linnet.text.normalizers import Normalizers
from tests.support.calling import Call, make_call
from tests.support.fake_recognizer import FakeRecognizer


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def manifest(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four utterances of 3 + 1 + 0 + 2 words; heard are: one-two-three, four, five-six, seven-nine."""
    return manifest(
        tmp_path,
        {"audio": "one-two-three.wav", "text": "One, two: three!"},
        {"audio": "four.wav", "text": "for"},
        {"audio": "five-six.wav", "text": ""},
        {"audio": "seven-nine.wav", "text": "seven eight"},
    )


def test_the_result_is_a_small_table(call: Call, corpus: Path) -> None:
    done = call("evaluate", corpus, model=FakeRecognizer())
    assert done.status == 0
    lines = dict(line.split("  ", 1) for line in done.out.splitlines())
    values = {name: value.strip() for name, value in lines.items()}
    assert values["WER"].startswith("66.67% (95% interval ")
    assert values["WER"].endswith("over 4 utterances: no speaker, session or recording is known, it may be too narrow)")
    assert values["errors"] == "2 substituted, 0 deleted, 2 inserted"
    assert values["words"] == "6"
    assert values["utterances"] == "4 scored"
    assert values["RTFx"] == "4.0 (8.0 s in 2.0 s)"
    assert values["normalizer"] == f"{Normalizers('unicode').id(None)} (4)"
    assert values["model"] == "fake (1, float32)"
    assert values["batch size"] == "1"
    assert "normalizer: unicode for rows without a language" in done.err


def test_the_result_as_json(call: Call, corpus: Path) -> None:
    done = call("evaluate", corpus, "--json", "--batch-size", "3", model=FakeRecognizer())
    data = json.loads(done.out)
    assert (data["wer"], data["words"], data["utterances"], data["failed"]) == (pytest.approx(4 / 6), 6, 4, 0)
    assert data["interval"]["low"] <= data["wer"] <= data["interval"]["high"]
    assert data["sessions"][0]["batch_size"] == 3
    assert data["made_with"]["options"]["beam_size"] == 1
    assert data["rtfx"] == 4.0


def test_a_row_is_kept_for_each_utterance(call: Call, corpus: Path, tmp_path: Path) -> None:
    call("evaluate", corpus, "--output", tmp_path / "rows.jsonl", model=FakeRecognizer())
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows[0]["linnet_evaluation"] == 1
    assert (rows[0]["model"], rows[0]["revision"], rows[0]["normalizer"]["choice"]) == ("fake", "1", "auto")
    assert rows[1]["session"]["versions"].keys() == {"linnet", "torch", "transformers"}
    last = rows[5]
    assert (last["id"], last["text"], last["hypothesis"]) == ("seven-nine.wav", "seven eight", "seven nine")
    assert (last["words"], last["substitutions"], last["duration"], last["seconds"]) == (2, 1, 2.0, 0.5)
    assert (last["normalized_text"], last["normalized_hypothesis"]) == ("seven eight", "seven nine")


def test_it_goes_on_where_it_stopped(call: Call, corpus: Path, tmp_path: Path) -> None:
    whole = call("evaluate", corpus, "--json", model=FakeRecognizer())
    rows = tmp_path / "rows.jsonl"
    call("evaluate", corpus, "--limit", "2", "--output", rows, model=FakeRecognizer())
    torn = rows.read_bytes()[:-20]  # as after a crash
    rows.write_bytes(torn)
    again = FakeRecognizer()
    done = call("evaluate", corpus, "--output", rows, "--json", model=again)
    assert done.status == 0, done.err
    assert [Path(heard).name for heard in again.heard] == ["four.wav", "five-six.wav", "seven-nine.wav"]
    assert "1 of 4 utterances are already scored" in done.err
    first, second = json.loads(whole.out), json.loads(done.out)
    for key in ("wer", "interval", "words", "insertions", "utterances", "audio_seconds"):
        assert first[key] == second[key]


def test_another_model_or_option_needs_restart(call: Call, corpus: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    call("evaluate", corpus, "--output", rows, model=FakeRecognizer())
    done = call("evaluate", corpus, "--output", rows, "--beam-size", "5", model=FakeRecognizer())
    assert done.status == 1
    assert done.err.splitlines()[-1] == (
        f"linnet: {rows}: was made with another beam size (1, now 5): start over with --restart, "
        "or choose another --output"
    )
    done = call("evaluate", corpus, "--output", rows, "--beam-size", "5", "--restart", model=FakeRecognizer("other"))
    assert done.status == 0
    assert "other" in done.out


def test_another_manifest_needs_restart(call: Call, corpus: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    call("evaluate", corpus, "--output", rows, model=FakeRecognizer())
    manifest(tmp_path, {"audio": "one-two-three.wav", "text": "corrected"})
    done = call("evaluate", corpus, "--output", rows, model=FakeRecognizer())
    assert done.status == 1
    assert "utterance 1 of the manifest is not the one in --output" in done.err


def test_what_fails_is_listed_and_not_scored(call: Call, tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"audio": "bad.wav", "text": "six words that nobody ever heard"},
        {"audio": "one.wav", "text": "one"},
        {"audio": "two.wav"},
    )
    done = call("evaluate", path, "--output", tmp_path / "rows.jsonl", model=FakeRecognizer())
    assert done.status == 1
    assert "bad.wav: not a sound" in done.err
    assert "1 scored, 1 FAILED (not scored, not in the WER), 1 without a reference (skipped)" in done.out
    assert "0.00%" in done.out
    row = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[2])
    assert (row["hypothesis"], row["words"]) == (None, 0)
    assert "not a sound" in row["error"]


def test_each_row_is_heard_in_its_language(call: Call, tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"audio": "color-one-two.wav", "text": "color twelve", "language": "en-GB"},
        {"audio": "ja.wav", "text": "ja", "language": "de"},
        {"audio": "oui.wav", "text": "oui", "language": "fr"},
        {"audio": "da.wav", "text": "da"},
    )
    recognizer = FakeRecognizer()
    done = call("evaluate", path, "--json", model=recognizer)
    assert [options.language for options in recognizer.options if options] == ["en", "de", None]
    assert "language 'fr' is unknown to this model" in done.err
    data = json.loads(done.out)
    assert (data["utterances"], data["failed"]) == (3, 1)
    assert data["normalizers"] == {Normalizers("english").id(None): 1, Normalizers("unicode").id(None): 2}
    assert call("evaluate", path, "--language", "fr", model=FakeRecognizer()).status == 1


def test_a_model_that_takes_no_language_is_given_none(call: Call, tmp_path: Path) -> None:
    path = manifest(tmp_path, {"audio": "one.wav", "text": "one", "language": "en"})
    recognizer = FakeRecognizer()
    recognizer.languages = ()  # type: ignore[assignment]
    done = call("evaluate", path, "--json", model=recognizer)
    assert (done.status, json.loads(done.out)["normalizers"]) == (0, {Normalizers("english").id(None): 1})
    assert recognizer.options[0] is not None
    assert recognizer.options[0].language is None


def test_ctrl_c_keeps_what_is_done(call: Call, tmp_path: Path) -> None:
    path = manifest(tmp_path, {"audio": "one.wav", "text": "one"}, {"audio": "stop.wav", "text": "two"})
    done = call("evaluate", path, "--output", tmp_path / "rows.jsonl", model=FakeRecognizer())
    assert (done.status, done.out) == (130, "")
    assert done.err.endswith("linnet: stopped: 1 of 2 utterances done; run it again to resume\n")
    assert "nothing is kept without --output" in call("evaluate", path, model=FakeRecognizer()).err


def test_in_a_folder_the_rows_are_named_by_the_manifest(
    call: Call, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("LINNET_EVALUATE_OUTPUT", str(tmp_path / "out"))
    call("evaluate", corpus, model=FakeRecognizer())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["corpus.evaluation.jsonl"]


@pytest.mark.parametrize(
    ("rows", "arguments", "said"),
    [
        ([{"audio": "a.wav"}], [], "no utterance has a reference text to compare with (1 without one)"),
        ([], [], "corpus.jsonl: is empty; expected one utterance per line"),
        ([{"text": "a"}], [], "corpus.jsonl: line 1 has the keys text; expected audio (Linnet), audio_filepath"),
        (
            [{"audio": "a.wav", "text": "a"}],
            ["--normalizer", "x"],
            "normalizer 'x' is unknown: use auto, english, digits, basic, unicode",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    call: Call, tmp_path: Path, rows: list[dict[str, Any]], arguments: list[str], said: str
) -> None:
    done = call("evaluate", manifest(tmp_path, *rows), *arguments, model=FakeRecognizer())
    assert (done.status, done.out) == (1, "")
    assert said in done.err
    assert done.err.startswith("linnet: ")


def test_a_missing_manifest(call: Call, tmp_path: Path) -> None:
    done = call("evaluate", tmp_path / "none.jsonl", model=FakeRecognizer())
    assert done.status == 1
    assert "none.jsonl: no such file or folder; expected a manifest" in done.err
