"""`linnet compress`: what it writes loads and hears; what it refuses leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from linnet.audio.types import SAMPLE_RATE
from linnet.compression import engine_times, speed
from linnet.compression.latency import LayerTimes
from tests.support.calling import Call, make_call
from tests.support.tiny_subjects import sound
from tests.support.tiny_whispers import save_whisper


@pytest.fixture(scope="module", autouse=True)
def _short_transcripts() -> Iterator[None]:
    """A random model does not end by itself: its transcripts are cut early."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linnet.compression.subject.MOST_TOKENS", 16)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("model") / "whisper", seed=1, layers=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 sounds without texts, one of them silent, one with samples that are no number, one missing."""
    folder = tmp_path_factory.mktemp("sounds")
    sounds = [sound(1.5 + 0.01 * index, seed=index) for index in range(24)]
    sounds[4][:] = 0.0
    sounds[7][:] = np.nan
    for index, samples in enumerate(sounds):
        soundfile.write(folder / f"{index}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    rows = [{"audio": f"{index}.wav", "language": "en"} for index in range(25)]
    path = folder / "calibration.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def test_a_compressed_model_is_written_described_and_hears(
    model: Path, manifest: Path, tmp_path: Path, call: Call
) -> None:
    made, page, spoken = tmp_path / "lite", tmp_path / "report.html", tmp_path / "test.jsonl"
    rows = [{"audio": str(manifest.with_name(f"{index}.wav")), "text": "one two"} for index in (0, 1, 30)]
    spoken.write_text("\n".join(map(json.dumps, rows)))
    asked = ("--budget", "0.7", "--for", "size", "--test", spoken, "--report", page)
    done = call("compress", model, "--calibration", manifest, "--output", made, *asked)
    assert done.status == 0, done.err
    told = dict(line.split(maxsplit=1) for line in done.out.splitlines() if line.split()[0] in ("encoder", "healed"))
    parameters = [int(word.replace(",", "")) for word in told["encoder"].split() if word[0].isdigit()]
    assert 0.4 < parameters[0] / parameters[1] <= 0.7
    assert "24.wav" in done.err
    assert "silent" in done.err
    card = (made / "README.md").read_text()
    assert f"linnet compress {model}" in card
    assert "| model.encoder.layers.0.fc2 | 96 x 64 |" in card
    text = page.read_text()
    assert "model.encoder.layers.0.self_attn.q_proj" in text
    assert "LiteASR&#39;s rule" in text
    for condition in ("as recorded", "white noise at 5 dB", "8 kHz line"):
        assert f"WER, {condition}" in card
        assert f"WER, {condition}" in done.out
        assert condition in text
    assert "30.wav" in done.err
    assert "on 2 utterances of 4 words" in card
    heard = call("transcribe", manifest.with_name("1.wav"), "--model", made, "--engine", "torch")
    assert heard.status == 0, heard.err


def test_weights_stay_in_the_precision_that_they_had(model: Path, manifest: Path, tmp_path: Path, call: Call) -> None:
    from transformers import WhisperForConditionalGeneration

    half, made = tmp_path / "half", tmp_path / "lite"
    shutil.copytree(model, half)
    WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float16).save_pretrained(half)
    done = call("compress", half, "--calibration", manifest, "--output", made, "--budget", "0.7", "--for", "size")
    assert done.status == 0, done.err
    weights = load_file(made / "model.safetensors").values()
    assert {one.dtype for one in weights if one.is_floating_point()} == {torch.float16}
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (half, made)]
    assert sizes[1] < sizes[0]


def test_by_default_no_layer_is_factored_that_is_slower(
    model: Path, manifest: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where attention's layers gain nothing, and on one where none does."""
    gain, told = [0.5], []

    def times(_: object, compute_type: str, frames: int, *, step: int) -> LayerTimes:
        told.append((compute_type, frames))
        return LayerTimes(
            lambda dense, *_: (1.0, gain[0] if dense.in_features != dense.out_features else 1.2), "a machine", step=step
        )

    monkeypatch.setattr(engine_times, "engine_times", times)
    monkeypatch.setattr(speed, "time_encoders", lambda *_, **__: [])  # which the first test does
    made, asked = tmp_path / "lite", ("--budget", "0.9", "--compute-type", "int8", "--report", tmp_path / "page.html")
    done = call("compress", model, "--calibration", manifest, "--output", made, *asked)
    assert done.status == 0, done.err
    assert told == [("int8", 100)]
    layers = json.loads((made / "config.json").read_text())["linnet_low_rank"]["layers"]
    assert layers
    assert {name.rpartition(".")[2] for name in layers} <= {"fc1", "fc2"}
    for text in (done.out, (made / "README.md").read_text()):
        now = 6000 - 500 * len(layers)
        assert f"on a machine: 6000.0 ms dense, {now}.0 now; what is not faster stays dense" in text
    assert "timed on a machine" in (tmp_path / "page.html").read_text()
    gain[0] = 1.0
    done = call("compress", model, "--calibration", manifest, "--output", tmp_path / "none", "--threshold", "0.9")
    assert done.status == 1
    assert "every layer stays dense: at these ranks none is faster on a machine" in done.err
    assert not (tmp_path / "none").exists()


def test_a_compressed_model_is_not_compressed_again(model: Path, manifest: Path, tmp_path: Path, call: Call) -> None:
    made = tmp_path / "lite"
    asked = ("--threshold", "0.9:0.95", "--for", "size")
    assert call("compress", model, "--calibration", manifest, "--output", made, *asked).status == 0
    again = call("compress", made, "--calibration", manifest, "--output", tmp_path / "again")
    assert again.status == 1
    assert "is compressed already: compress the model that it was made from" in again.err
    assert not (tmp_path / "again").exists()


def test_dense_weights_can_be_written(model: Path, manifest: Path, tmp_path: Path, call: Call) -> None:
    from transformers import WhisperForConditionalGeneration

    made = tmp_path / "dense"
    done = call(
        "compress", model, "--calibration", manifest, "--output", made, "--heal", "0.02", "--materialize", "--seed", "2"
    )
    assert done.status == 0, done.err
    assert "healed" in done.out
    assert json.loads((made / "config.json").read_text())["model_type"] == "whisper"
    WhisperForConditionalGeneration.from_pretrained(made)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "0.05", "--for", "size"], "a budget of 0.05 cannot be met"),
        (["--budget", "1.2"], "between 0 and 1; got 1.2"),
        (["--budget", "0.5", "--preset", "acc"], "give one of --preset, --threshold, --budget and"),
        (["--preset", "tiny"], "preset 'tiny' is unknown: use acc, balanced, fast"),
        (["--threshold", "0.9:x"], "one or two shares of the variance"),
        (["--threshold", "0.9:1.5"], "a share of the variance, above 0 and at most 1; got 1.5"),
        (["--threshold", "1", "--for", "size"], "every layer stays dense"),
        (["--decoder", "2"], "a share of the parameters, between 0 and 1; got 2"),
        (["--heal", "inf"], "a number of minutes and a rate, both above 0"),
        (["--report", "/proc/none/page.html"], "/proc/none/page.html: cannot write"),
        (["--output", "/proc/none/lite"], "/proc/none/lite: cannot write"),
        (["--compute-type", "w8a8"], "layers are timed in auto, f32, bf16 or int8, not in w8a8"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    model: Path, manifest: Path, tmp_path: Path, call: Call, options: list[str], said: str
) -> None:
    done = call("compress", model, "--calibration", manifest, "--output", tmp_path / "lite", *options)
    assert done.status == 1
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [("--decoder", "2"), ("--heal", "-1"), ("--threshold", "nan"), ("--report", "/proc/none/x"), ("--test", "{none}")],
)
def test_what_can_be_seen_at_once_is_refused_before_the_work(
    manifest: Path, tmp_path: Path, call: Call, options: tuple[str, str]
) -> None:
    """There is no such model, and that is not what is complained about."""
    none = tmp_path / "none.jsonl"
    none.write_text(json.dumps({"audio": "a.wav"}) + "\n")
    asked = [one.format(none=none) for one in options]
    done = call("compress", "no-such-model", "--calibration", manifest, "--output", tmp_path / "lite", *asked)
    assert done.status == 1
    assert "no-such-model" not in done.err


def test_a_budget_that_is_too_small_blames_slow_layers_only_where_there_are_some(
    model: Path, manifest: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    gain = [0.5]

    def times(*_: object, step: int) -> LayerTimes:
        return LayerTimes(lambda *_: (1.0, gain[0]), "a machine", step=step)

    monkeypatch.setattr(engine_times, "engine_times", times)
    asked = ("compress", model, "--calibration", manifest, "--output", tmp_path / "lite", "--budget", "0.05")
    assert "--for size" not in call(*asked).err
    gain[0] = 1.0
    assert "6 of 6 layers are faster dense at every rank on a machine" in call(*asked).err


def test_too_little_audio_says_how_much_is_needed(model: Path, manifest: Path, tmp_path: Path, call: Call) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(f'{{"audio": "{manifest.with_name(f"{index}.wav")}"}}\n' for index in (1, 4, 2)))
    done = call("compress", model, "--calibration", few, "--output", tmp_path / "lite")
    assert done.status == 1
    assert "too little calibration audio: 2 windows of speech (3 s; left out: 1 silent)" in done.err
    assert not (tmp_path / "lite").exists()


def test_a_folder_that_is_there_is_not_touched(model: Path, manifest: Path, tmp_path: Path, call: Call) -> None:
    done = call("compress", model, "--calibration", manifest, "--output", tmp_path)
    assert done.status == 1
    assert "already exists" in done.err
