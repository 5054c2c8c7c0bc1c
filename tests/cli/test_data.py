"""`linnet data align` end to end on the embedded model."""

from __future__ import annotations

import json
import shutil

from typer.testing import CliRunner

from linnet.cli import build_app
from linnet.data.aligned import AlignedUtterance, read_aligned
from tests.support.places import ROOT
from tests.support.tiny_speech import save_all


def test_word_times_for_a_manifest(tmp_path):
    manifest, output = tmp_path / "rows.jsonl", tmp_path / "aligned.jsonl"
    audio = str(ROOT / "examples" / "digits-en.flac")
    rows = [
        {"audio": audio, "text": "three one four one five nine", "language": "en"},
        {"audio": audio, "language": "en", "id": "untold"},
        {"audio": "none.flac", "text": "one", "id": "gone"},
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = ["data", "align", str(manifest), "--model", "digits", "--output", str(output), "--device", "cpu"]
    done = CliRunner().invoke(build_app("data"), [*told, "--transcribe"])
    assert done.exit_code == 0, done.output
    found = list(read_aligned(output))
    assert len(found) == 2
    for one in found:
        assert isinstance(one, AlignedUtterance)
        assert [word.word for word in one.words] == rows[0]["text"].split()
        assert one.score is not None
        assert one.score > -0.5
    assert str(output) in done.stdout
    assert "2 of 3 rows have word times" in done.stderr
    assert "unreadable audio" in done.stderr


def test_recordings_are_found_from_the_output_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    shutil.copy(ROOT / "examples" / "digits-en.flac", tmp_path / "corpus" / "a.flac")
    row = {"audio": "a.flac", "text": "three one four one five nine", "language": "en"}
    (tmp_path / "corpus" / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "elsewhere").mkdir()
    told = ["data", "align", "corpus/rows.jsonl", "--model", "digits", "--output", "elsewhere/out.jsonl"]
    done = CliRunner().invoke(build_app("data"), told)
    assert done.exit_code == 0, done.output
    (found,) = read_aligned(tmp_path / "elsewhere" / "out.jsonl")
    assert found.utterance.audio == str(tmp_path / "corpus" / "a.flac")
    assert found.utterance.id == "a.flac"


def test_word_times_of_a_ctc_model(tmp_path):
    folder = save_all(tmp_path)["wav2vec2-layer"]
    manifest, output = tmp_path / "rows.jsonl", tmp_path / "aligned.jsonl"
    audio = str(ROOT / "examples" / "digits-en.flac")
    rows = [{"audio": audio, "text": "Three, one!"}, {"audio": audio, "id": "untold"}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = ["data", "align", str(manifest), "--model", str(folder), "--output", str(output), "--device", "cpu"]
    done = CliRunner().invoke(build_app("data"), [*told, "--transcribe", "--loss", "100"])
    assert done.exit_code == 0, done.output
    first, second = read_aligned(output)
    assert [word.word for word in first.words] == ["Three,", "one!"]
    assert first.score < second.score <= 1e-6  # the second has the model's own words
    assert "1 of them with the model's own words" in done.stderr


def test_a_model_that_cannot_align_is_named(tmp_path):
    folder = save_all(tmp_path)["moonshine"]
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text(json.dumps({"audio": "a.wav", "text": "one"}) + "\n")
    told = ["data", "align", str(manifest), "--model", str(folder), "--output", str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(build_app("data"), told)
    assert "cannot align words: choose a Whisper-family or CTC model" in str(done.exception)


def test_nothing_to_align_is_an_error(tmp_path):
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text(json.dumps({"audio": "none.flac", "text": "one"}) + "\n")
    told = ["data", "align", str(manifest), "--model", "digits", "--output", str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(build_app("data"), told)
    assert done.exit_code != 0
    assert "no row could be aligned" in str(done.exception)
    assert not (tmp_path / "out.jsonl").exists()
