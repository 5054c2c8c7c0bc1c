"""The published recipe: what it comes to at its real size, and that it trains, whole, on tiny random models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.state import AcceleratorState

from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.folder import result_folder
from linnet.training.loop import run_recipe
from linnet.training.recipe import build, read_recipe
from linnet.training.speech.recipe import SpeechRecipe
from tests.support.places import RECIPES
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import save_bases, tone_corpus

RECIPE = RECIPES / "tiny-audio.yaml"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """One precision for a process, says accelerate; this recipe has another than the other tests."""
    AcceleratorState._reset_state(True)
    with one_thread():
        yield
    AcceleratorState._reset_state(True)


def on(bases: dict[str, Path], manifest: Path, output: Path, **changes: dict[str, Any]) -> SpeechRecipe:
    """The recipe on other models and data."""
    content = yaml.safe_load(RECIPE.read_text())
    del content["task"]
    content["model"] |= {"encoder": str(bases["hubert"]), "language_model": str(bases["llama"])}
    content["data"] |= {"train": [{"path": str(manifest)}], "validation": {"path": str(manifest)}}
    content["run"] |= {"output": str(output), "device": "cpu", "workers": 0}
    for part, values in changes.items():
        content[part] |= values
    return build(SpeechRecipe, content, "tiny-audio")


def test_it_says_what_is_published() -> None:
    recipe = read_recipe(RECIPE)
    assert isinstance(recipe, SpeechRecipe)
    assert recipe.freeze == {"encoder": "frozen", "projector": "all", "language_model": "frozen"}
    assert recipe.optimization.steps == 50_000
    assert recipe.optimization.gradient_checkpointing
    assert (recipe.run.precision, recipe.run.beams) == ("bf16", 4)


def test_its_parameters_are_counted_without_weights(tmp_path: Path) -> None:
    """HuBERT-large's and SmolLM3-3B's configs; the figures are those of their model cards and of the shapes."""
    from transformers import HubertConfig, SmolLM3Config

    bases = save_bases(tmp_path)
    for weights in tmp_path.glob("*/*.safetensors"):
        weights.unlink()
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    wide = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    HubertConfig(**wide, **large).save_pretrained(bases["hubert"])
    SmolLM3Config().save_pretrained(bases["llama"])
    rows = dict(dry_run(on(bases, tone_corpus(tmp_path / "corpus", 16), tmp_path / "out")))
    matrices = 5 * 1024 * 2048 + 2048 + 2048 * 2048 + 2048
    assert rows["projector"] == f"all: {matrices:,} trained, 0 frozen"
    encoder, language_model = (int(rows[part].split()[3].replace(",", "")) for part in ("encoder", "language_model"))
    assert encoder == pytest.approx(316e6, rel=0.01)
    assert language_model == pytest.approx(3.08e9, rel=0.01)
    assert rows["parameters"] == f"{matrices:,} trained, {encoder + language_model:,} frozen"
    assert rows["steps"].startswith("50000, ")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPE)
    assert isinstance(recipe, SpeechRecipe)
    rows = dict(dry_run(recipe))
    assert rows["model"].startswith("missing: base model facebook/hubert-large-ll60k")


def test_it_trains_tiny_models_end_to_end(tmp_path: Path) -> None:
    bases, manifest = save_bases(tmp_path), tone_corpus(tmp_path / "corpus", 24)
    recipe = on(
        bases,
        manifest,
        tmp_path / "out",
        data={"validation_limit": 4, "batching": {"budget": 6.0, "groups": 3}},
        optimization={"steps": 8},
        run={"log_every": 1, "validate_every": 4, "checkpoint_every": 4, "max_new_tokens": 5},
    )
    rows = list(run_recipe(recipe, RunContext(score=lambda *texts: float(len("".join(texts[1]))))))
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert sum(row["loss"] for row in rows[4:]) < sum(row["loss"] for row in rows[:4])
    assert result_folder(recipe) == tmp_path / "out" / "best"
    written = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert written["optimization"]["betas"] == [0.9, 0.999]
    from transformers import AutoModelForSpeechSeq2Seq

    model = AutoModelForSpeechSeq2Seq.from_pretrained(result_folder(recipe))
    assert {name.partition(".")[0] for name in model.trained_names()} == {"projector"}
