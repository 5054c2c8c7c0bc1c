"""`linnet models add-languages` and `linnet models resize`, run for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration, pipeline

from linnet.audio.types import SAMPLE_RATE
from tests.support.calling import Call, make_call
from tests.support.places import DIGITS
from tests.support.tiny_whispers import save_whisper


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def test_the_embedded_model_learns_tokens_and_transcribes_in_them(call: Call, root: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = call("models", "add-languages", "digits", "ast=es", "ace_Arab", "--output", made)
    assert (done.status, done.out.split("\n")[:2]) == (
        0,
        ["ast         912     es", "ace-arab    913     the mean of all languages"],
    )
    assert f"{made}: train it on these 2 languages" in done.err
    info = json.loads(call("models", "info", made, "--json").out)
    assert info["languages"][-2:] == ["ast", "ace-arab"]
    sound = root / "examples" / "digits-es.flac"
    sound = sound if sound.is_file() else next((root / "examples").glob("digits-*.flac"))
    texts = [
        call("transcribe", sound, "--model", model, "--language", language).out
        for model, language in ((DIGITS, "es"), (made, "ast"))
    ]
    assert texts[0] == texts[1] != ""
    rare = call("transcribe", sound, "--model", made, "--language", "ACE-Arab", "--format", "json")
    assert (rare.status, json.loads(rare.out)["language"]) == (0, "ace-arab")
    unknown = call("transcribe", sound, "--model", made, "--language", "acx")
    assert unknown.status == 1
    assert "It knows ace-arab, ast, de" in unknown.err


def test_a_published_list_on_whispers_own_tokenizer(call: Call, whisper_tokenizer: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(whisper_tokenizer)
    ids = tokenizer.get_vocab()
    codes = [name[2:-2] for name, _ in sorted(ids.items(), key=lambda item: item[1]) if 50259 <= ids[name] <= 50357]
    old = save_whisper(tmp_path / "old", tokenizer=tokenizer, languages=codes)
    done = call("models", "add-languages", old, "ckb=fa", "--list", "flores200", "--output", tmp_path / "new")
    rows = [line.split(maxsplit=2) for line in done.out.splitlines()]
    assert done.status == 0
    assert [row[0] for row in rows[:1]] == ["ckb"]
    assert [int(row[1]) for row in rows] == list(range(51865, 51865 + len(rows)))
    assert {row[0]: row[2] for row in rows}.items() >= {"zh-hant": "zh", "ast": "the mean of all languages"}.items()
    said = next(line for line in done.err.splitlines() if "of the list already exist" in line)
    there = said.partition("already exist: ")[2].split()
    assert len(rows) + len(there) == 203
    assert said.startswith(f"linnet: {len(there)} languages")
    assert {"de", "jv", "zh"} <= set(there)  # Whisper spells Javanese jw
    new = AutoTokenizer.from_pretrained(tmp_path / "new")
    assert ids.items() <= new.get_vocab().items()
    assert new.decode([50364, 1770, 50414], decode_with_timestamps=True) == "<|0.00|>AN<|1.00|>"
    found = heard(tmp_path / "new", "<|ckb|>")
    assert found == heard(old, "fa")
    assert found["chunks"]


def heard(folder: Path, language: str) -> Any:
    """What Transformers' pipeline writes of a noise, with times."""
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    parts = (AutoTokenizer.from_pretrained(folder), WhisperFeatureExtractor.from_pretrained(folder))
    asr = pipeline("automatic-speech-recognition", model=model, tokenizer=parts[0], feature_extractor=parts[1])
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    return asr(noise, return_timestamps=True, generate_kwargs={"language": language, "max_new_tokens": 20})


def test_a_student_is_made_and_transcribes(call: Call, tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = call("models", "resize", "digits", "--encoder-layers", "3", "--decoder-layers", "1", "--output", made)
    assert (done.status, done.out.splitlines()[:2]) == (
        0,
        ["encoder     3 layers: 0 2 4", "decoder     1 layers: 1"],
    )
    assert done.out.splitlines()[2].startswith("parameters  ")
    config = json.loads((made / "config.json").read_text())
    assert (config["encoder_layers"], config["decoder_layers"]) == (3, 1)
    assert json.loads((made / "generation_config.json").read_text())["alignment_heads"] == [[0, 0], [0, 1]]
    assert done.err == ""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", rng.normal(0, 0.1, SAMPLE_RATE).astype(np.float32), SAMPLE_RATE)
    assert call("transcribe", tmp_path / "a.wav", "--model", made, "--language", "en").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("add-languages", "digits", "germn"),
            "linnet: 'germn' is not a BCP-47 language code: did you mean de (german)",
        ),
        (
            ("add-languages", "digits", "deu=en"),
            "linnet: model digits already has these languages: de; leave them out\n",
        ),
        (("add-languages", "digits", "ast=pt"), "linnet: model digits has no language 'pt' to start ast from"),
        (("add-languages", "digits"), "linnet: no language to add to digits: name some\n"),
        (
            ("add-languages", "digits", "--list", "nllb"),
            "linnet: unknown list of languages 'nllb': use heep or",
        ),
        (("resize", "digits"), "linnet: model digits has only 5 + 2 layers: choose fewer\n"),
        (("resize", "digits", "--encoder-layers", "7"), "linnet: the encoder of digits has 5 layers, not 7: choose"),
    ],
)
def test_what_cannot_be_made(call: Call, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = call("models", *words, "--output", tmp_path / "made")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(said)
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_overwritten(call: Call, tmp_path: Path) -> None:
    for words in (("add-languages", "digits", "ast"), ("resize", "digits", "--decoder-layers", "1")):
        done = call("models", *words, "--output", tmp_path)
        assert (done.status, done.err) == (
            1,
            f"linnet: {tmp_path} already exists: choose another --output, or remove it first\n",
        )


def test_a_fusion_model_is_written_whole(call: Call, tmp_path: Path) -> None:
    import shutil

    from linnet.models.fusion import build
    from tests.support.tiny_fusion import save_all

    bases = save_all(tmp_path / "bases", ["hubert", "llama"])
    model, processor = build(str(bases["hubert"]), str(bases["llama"]), {"hidden": 16})
    for part in (model, processor):
        part.save_pretrained(tmp_path / "small")
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, np.random.default_rng(0).standard_normal(SAMPLE_RATE) * 0.1, SAMPLE_RATE)
    before = call("transcribe", sound, "--model", tmp_path / "small", "--format", "json")
    assert before.status == 0, before.err
    done = call("models", "merge", tmp_path / "small", "--output", tmp_path / "whole")
    assert done.status == 0, done.err
    assert f"{sum(value.numel() for value in model.parameters()):,}" in done.out
    shutil.rmtree(tmp_path / "bases")  # the new folder needs them no more
    after = call("transcribe", sound, "--model", tmp_path / "whole", "--format", "json")
    assert json.loads(after.out)["text"] == json.loads(before.out)["text"]
    half = call("models", "merge", tmp_path / "whole", "--output", tmp_path / "again")
    assert (half.status, half.err) == (
        1,
        f"linnet: model {tmp_path / 'whole'} is already standalone: it has no base models and no adapters\n",
    )
    other = call("models", "merge", DIGITS, "--output", tmp_path / "again")
    assert other.status == 1
    assert "is not a fusion model" in other.err
