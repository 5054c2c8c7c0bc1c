"""`linnet models align-heads`: on the embedded model's own known heads, and on what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from linnet.audio.types import SAMPLE_RATE
from linnet.errors import ModelError
from linnet.models.alignment_heads import MEASURED_LAGS, AlignmentHeads, find_alignment_heads, save_alignment_heads
from linnet.models.whisper import load_whisper
from recipes.digits.bank import Voices, load_fsdd
from recipes.digits.words import DIGITS as WORDS
from tests.support.calling import make_call
from tests.support.places import DIGITS


def write_manifest(folder: Path, fsdd: Path) -> Path:
    """Three strings of three real digits, with pauses, and one utterance that cannot be used."""
    voices: Voices = {}
    load_fsdd(fsdd.parent, ("jackson",), voices)
    voice, rows = voices["en"]["real"][0], []
    for index, digits in enumerate([(3, 1, 4), (1, 5, 9), (2, 6, 5)]):
        parts, words = [np.zeros(SAMPLE_RATE // 4, np.float32)], []
        for digit in digits:
            start = sum(map(len, parts)) / SAMPLE_RATE
            parts += [voice.digits[digit][index].samples() * 0.4, np.zeros(SAMPLE_RATE // 4, np.float32)]
            end = start + len(parts[-2]) / SAMPLE_RATE
            words.append({"word": WORDS["en"][digit], "start": start, "end": end})
        soundfile.write(folder / f"{index}.wav", np.concatenate(parts), SAMPLE_RATE)
        rows.append({"audio": f"{index}.wav", "language": "en", "words": words})
    soundfile.write(folder / "long.wav", np.zeros(40 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    rows.append({"audio": "long.wav", "words": rows[0]["words"]})
    path = folder / "known.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_heads_trained_to_look_at_words_are_found_and_used(
    tmp_path: Path, fsdd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(tmp_path, fsdd)
    model = tmp_path / "model"
    shutil.copytree(DIGITS, model)
    settings = json.loads((model / "generation_config.json").read_text())
    known = {(layer, head) for layer, head in settings.pop("alignment_heads")}
    (model / "generation_config.json").write_text(json.dumps(settings))
    assert load_whisper(model, name="m", device="cpu", dtype=torch.float32).alignment_heads.source == "assumed"

    call = make_call(monkeypatch, capsys)
    done = call("models", "align-heads", model, manifest)
    assert done.status == 0
    assert "long.wav: left out, longer than the model's window" in done.err
    heads = load_whisper(model, name="m", device="cpu", dtype=torch.float32).alignment_heads
    assert heads.source == "calibrated"
    assert heads.notice is None
    assert known & set(heads.pairs)
    saved = json.loads((model / "alignment_heads.json").read_text())
    best = max(saved["scores"], key=lambda row: row["score"])
    scores = {(row["layer"], row["head"]): row["score"] for row in saved["scores"]}
    assert scores[heads.pairs[0]] == best["score"]  # several may be equally good
    assert best["score"] > 0.5
    assert f"{best['layer']:>5}  {best['head']:>4}" in done.out
    assert f"they attend {heads.lag:.2f} s after" in done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: expected"),
        ('{"audio": "a.wav"}', "line 1: expected"),
        ('{"audio": "a.wav", "words": [{"word": "one", "start": "x", "end": 1}]}', "line 1: expected"),
        ('{"audio": "a.wav", "words": [{"word": "one", "start": 5, "end": 1}]}', "a start before its end"),
        ('{"audio": "a.wav", "words": [{"word": "one", "start": NaN, "end": 1}]}', "a start before its end"),
        ('{"audio": "a.wav", "words": [{"word": " ", "start": 0, "end": 1}]}', "each word needs letters"),
    ],
)
def test_a_bad_manifest_is_named(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "bad.jsonl"
    manifest.write_text(line + "\n")
    done = make_call(monkeypatch, capsys)("models", "align-heads", "digits", manifest)
    assert done.status == 1
    assert said in done.err
    missing = make_call(monkeypatch, capsys)("models", "align-heads", "digits", tmp_path / "none.jsonl")
    assert missing.status == 1
    assert "cannot read the manifest" in missing.err


def test_heads_that_the_decoder_lacks_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    listed = {"alignment_heads": [[1, 3], [9, 0], [1, 3], [0, 7]]}
    assert find_alignment_heads(tmp_path, listed, layers=2, heads=4) == AlignmentHeads(((1, 3),), "model")
    found = find_alignment_heads(tmp_path, {"alignment_heads": [[9, 0]]}, layers=3, heads=2)
    assert found == AlignmentHeads(((1, 0), (1, 1), (2, 0), (2, 1)), "assumed")
    assert found.notice is not None
    assert "align-heads" in found.notice


def test_the_lag_of_heads_is_what_was_measured_of_them_unless_the_model_states_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    for heads, lag in MEASURED_LAGS.items():
        named = {"alignment_heads": [list(head) for head in heads]}
        assert find_alignment_heads(tmp_path, named, layers=6, heads=8).lag == lag
    assert find_alignment_heads(tmp_path, {}, layers=2, heads=2).lag == 0.0
    (tmp_path / "alignment_heads.json").write_text('{"alignment_heads": [[1, 0]]}')
    found = find_alignment_heads(tmp_path, {"alignment_lag": 0.05}, layers=2, heads=2)
    assert (found.source, found.lag) == ("calibrated", 0.05)
    assert load_whisper(DIGITS, name="d", device="cpu", dtype=torch.float32, weights=False).alignment_heads.lag == 0.0
    for wrong in ("soon", -1.1, True, None):
        with pytest.raises(ModelError, match=r"alignment_lag in generation_config\.json must be -1 to 1 second"):
            find_alignment_heads(tmp_path, {"alignment_lag": wrong}, layers=2, heads=2)


def test_a_calibration_of_a_shared_model_lies_in_linnets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    shutil.copytree(DIGITS, folder)
    path = save_alignment_heads(folder, {(0, 1): 0.9, (0, 0): 0.1}, chosen=[(0, 1)], lag=0.04, shared=True)
    assert path.is_relative_to(tmp_path / "cache")
    assert find_alignment_heads(folder, {}, layers=2, heads=4) == AlignmentHeads(((0, 1),), "calibrated", 0.04)
