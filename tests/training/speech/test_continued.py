"""A saved fusion model is trained further: what it has learned stays in its folder, whatever is trained next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSpeechSeq2Seq

import linnet
from linnet.errors import OptionError
from linnet.models.merge import merge
from linnet.training.loop import run_recipe
from linnet.training.recipe import read_recipe
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus, write_recipe

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_corpus(tmp_path_factory.mktemp("corpus"), 12)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, bases: dict[str, Path], manifest: Path) -> Path:
    """A model with adapters in its language model, whose encoder's last block was trained (its largest stack is that of
    its convolutions, as small as it is)."""
    folder = tmp_path_factory.mktemp("first")
    content = fusion_recipe(bases, manifest, folder)
    content["freeze"] = {"encoder": "top:1", "language_model": "lora(r=2)"}
    with one_thread():
        trained_by(content)
    return folder / "model"


def trained_by(content: dict[str, Any]) -> None:
    content["optimization"] = {"steps": 2, "learning_rate": 0.03}
    path = write_recipe(Path(content["run"]["output"]).with_suffix(".yaml"), content)
    recipe = read_recipe(path)
    assert isinstance(recipe, SpeechRecipe)
    assert len(list(run_recipe(recipe))) == 2


def further(first: Path, manifest: Path, output: Path, freeze: dict[str, str]) -> dict[str, Any]:
    content = fusion_recipe({"hubert": first, "llama": first}, manifest, output)
    return {**content, "model": {"checkpoint": str(first)}, "freeze": freeze}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = AutoModelForSpeechSeq2Seq.from_pretrained(folder).state_dict()
    return state


@pytest.mark.parametrize(
    ("freeze", "moved"),
    [
        ({}, ("projector.",)),
        ({"projector": "frozen", "language_model": "lora(r=2)"}, ("lora_",)),
        ({"encoder": "top:1", "projector": "frozen"}, ("encoder.feature_extractor.conv_layers.6.",)),
        ({"encoder": "lora(r=3)", "projector": "frozen"}, ("encoder.",)),
    ],
)
def test_what_it_has_learned_stays_and_only_the_policy_moves(
    first: Path, manifest: Path, tmp_path: Path, freeze: dict[str, str], moved: tuple[str, ...]
) -> None:
    trained_by(further(first, manifest, tmp_path / "next", freeze))
    before, after = weights(first), weights(tmp_path / "next" / "model")
    now = {name.replace(".base_layer.", "."): value for name, value in after.items()}
    changed = {name for name, value in before.items() if not torch.equal(value, now[name.replace(".base_layer.", ".")])}
    changed |= {name for name in after.keys() - before.keys() if "lora_B" in name}
    assert changed
    assert all(any(part in name for part in moved) for name in changed), changed
    heard = linnet.load(str(tmp_path / "next" / "model")).transcribe(np.zeros(8000, np.float32), max_new_tokens=4)
    assert isinstance(heard.text, str)


def test_a_whole_model_is_trained_further_and_stays_whole(first: Path, manifest: Path, tmp_path: Path) -> None:
    merge(str(first), tmp_path / "whole")
    trained_by(further(tmp_path / "whole", manifest, tmp_path / "next", {"language_model": "lora(r=4)"}))
    whole, after = (names_in(tmp_path / place) for place in ("whole", "next/model"))
    assert any("lora_A" in name for name in after)
    assert {name.replace(".base_layer.", ".") for name in after if "lora_" not in name} == whole


def names_in(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "np") as file:
        return set(file.keys())


def test_other_adapters_than_there_are_refused(first: Path, manifest: Path, tmp_path: Path) -> None:
    content = further(first, manifest, tmp_path / "next", {"language_model": "lora(r=8)"})
    recipe = speech_recipe(tmp_path / "next.yaml", content)
    with pytest.raises(
        OptionError, match=r"language_model already has adapters \(lora\(r=2\)\): give the same .* merge"
    ):
        load_task(recipe)
