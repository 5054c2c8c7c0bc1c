"""The window that a Whisper's encoder pads to: what is told of it below a fusion model, and a shorter one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

import linnet
from linnet.audio import SAMPLE_RATE
from linnet.data import Utterance, write_manifest
from linnet.errors import OptionError
from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.loop import train
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.tiny_recipes import fusion_recipe, speech_recipe
from tests.support.tiny_whispers import random_whisper, save_whisper, small_tokenizer

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper") / "whisper")


def recipe_at(folder: Path, whisper: Path, manifest: Path, window: float, **changes: dict[str, Any]) -> SpeechRecipe:
    content = fusion_recipe({"hubert": whisper, "llama": whisper}, manifest, folder / "out", **changes)
    content["model"] = {"checkpoint": str(whisper), "language": "en", "window_seconds": window}
    return speech_recipe(folder / "recipe.yaml", content)


def test_a_fusion_model_on_a_whisper_tells_the_padding_that_it_computes(
    bases: dict[str, Path], manifest: Path, tmp_path: Path
) -> None:
    """Its encoder hears 4 s for each clip, or what `pad_seconds` says."""
    whisper = tmp_path / "whisper"
    random_whisper(small_tokenizer(), seed=0, seconds=4).save_pretrained(whisper)
    WhisperFeatureExtractor(feature_size=16, chunk_length=4).save_pretrained(whisper)
    found: dict[float, float] = {}
    for grid in (0.0, 0.2):
        content = fusion_recipe(
            {**bases, "hubert": whisper}, manifest, tmp_path / f"{grid}", optimization={"steps": 0, "epochs": 1.0}
        )
        content["model"] |= {"pad_seconds": grid, "projector": {"hidden": 16}}
        content["data"] |= {"validation": None}
        recipe = speech_recipe(tmp_path / "recipe.yaml", content)
        trainer, data, _ = prepare(recipe, load_task(recipe))
        batches = [data[rows] for rows in trainer.batches.of_rank(0)]
        heard = [seconds for batch in batches for seconds in batch.seconds]
        cells = [-(-length // grid) * grid if grid else 4.0 for length in np.round(heard, 6)]
        found[grid] = 1 - sum(heard) / sum(cells)
        assert sum(batch.padded for batch in batches) == pytest.approx(sum(cells), rel=1e-3)
        said = dict(dry_run(recipe))["audio padding"]
        assert float(said.partition("%")[0]) / 100 == pytest.approx(found[grid], abs=2e-3)
        assert ("(the encoder pads every window to 4 s; `pad_seconds` reduces that)" in said) is (grid == 0)
    assert found[0.2] < 0.4 < 0.9 < found[0.0]


def test_a_whisper_learns_on_shorter_windows_and_is_saved_with_them(
    whisper: Path, manifest: Path, tmp_path: Path
) -> None:
    """The oracle is a Whisper whose config says so from the start, with the same weights."""
    recipe = recipe_at(tmp_path, whisper, manifest, 1.0, optimization={"steps": 2})
    task = load_task(recipe)
    trainer, data, _ = prepare(recipe, task)
    batch = data[[1, 2, 3]]
    assert batch.padded == 3.0
    assert batch.tensors["input_features"].shape[2] == 100
    config = WhisperConfig.from_pretrained(whisper, max_source_positions=50)
    twin = WhisperForConditionalGeneration(config).eval()
    weights = {**load_file(whisper / "model.safetensors")}
    weights["model.encoder.embed_positions.weight"] = weights["model.encoder.embed_positions.weight"][:50]
    assert not twin.load_state_dict(weights, strict=False).unexpected_keys
    with torch.no_grad():
        loss = float(task.loss.eval()(batch.tensors)["text"])
        assert loss == pytest.approx(float(twin(**batch.tensors).loss) * batch.tokens, rel=1e-5)
    list(train(trainer, data))
    saved = json.loads((tmp_path / "out/model/config.json").read_text())
    assert saved["max_source_positions"] == 50
    text = (
        linnet.load(str(tmp_path / "out/model"))
        .transcribe(soundfile.read(manifest.parent / "1.wav", dtype="float32")[0])
        .text
    )
    assert isinstance(text, str)
    bad = replace(recipe, model=replace(recipe.model, window_seconds=1.5))
    with pytest.raises(OptionError, match="whole number of seconds"):
        load_task(bad)


def test_sounds_over_a_shorter_window_are_left_out_and_told(whisper: Path, tmp_path: Path) -> None:
    rows = []
    for number, seconds in enumerate((0.5, 1.5, 0.8)):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
        rows.append(Utterance(f"{number}.wav", "two", seconds, "en"))
    write_manifest(tmp_path / "train.jsonl", rows)
    recipe = recipe_at(tmp_path, whisper, tmp_path / "train.jsonl", 1.0)
    said: list[str] = []
    trainer, _, _ = prepare(recipe, load_task(recipe), RunContext(notify=said.append))
    assert sorted(row for batch in trainer.batches.of_rank(0) for row in batch) == [0, 2]
    assert any("1 dropped: longer than 1 s" in line for line in said)
