"""Batches without padding before the language model: the same gradients, planned by tokens, and checked to be so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from linnet.data.batching import Packing
from linnet.errors import OptionError
from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.loop import train
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import plan, prepare
from tests.support.tiny_recipes import fusion_recipe, speech_recipe
from tests.support.tiny_whispers import save_whisper

BUDGET = 6.0


pytestmark = pytest.mark.usefixtures("quick")


def recipe_at(folder: Path, bases: dict[str, Path], manifest: Path, *, packed: bool, **changes: Any) -> SpeechRecipe:
    content = fusion_recipe(bases, manifest, folder / "out", **changes)
    content["losses"] = {"distill": True, "ctc": True}
    content["data"]["batching"] = {"budget": BUDGET, "packed": packed}
    return speech_recipe(folder / "recipe.yaml", content)


def test_the_gradients_are_those_of_the_padded_batch(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    """All parts of the loss; with adapters in the language model and a trained encoder."""
    changes = {"freeze": {"language_model": "lora(r=2)", "encoder": "top:1"}, "optimization": {"clip": 0.0}}
    found: list[dict[str, Tensor]] = []
    for packed in (False, True):
        recipe = recipe_at(tmp_path, bases, manifest, packed=packed, **changes)
        trainer, data, _ = prepare(recipe, load_task(recipe))
        torch.manual_seed(1)
        for name, value in trainer.loss.named_parameters():
            if "lora_B" in name:
                value.data.normal_()
        trainer.loss.train()
        parts, _ = trainer.backward([data[range(8)], data[range(8, 11)]])
        gradients = {n: v.grad.clone() for n, v in trainer.loss.named_parameters() if v.grad is not None}
        found.append({**gradients, **{name: torch.tensor(part) for name, part in parts.items()}})
    assert found[0].keys() == found[1].keys() >= {"text", "distill", "ctc"}
    assert len(found[0]) > 20
    for name, value in found[0].items():
        least = 2e-5 * float(value.abs().max())
        torch.testing.assert_close(found[1][name], value, rtol=5e-4, atol=least, msg=name)


def test_a_run_reads_each_utterance_once_within_its_budget_and_says_so(
    bases: dict[str, Path], manifest: Path, tmp_path: Path
) -> None:
    recipe = recipe_at(tmp_path, bases, manifest, packed=True, optimization={"steps": 0, "epochs": 1.0})
    task = load_task(recipe)
    planned = plan(recipe, task, RunContext())
    assert isinstance(planned.binning, Packing)
    trainer, data, _ = prepare(recipe, task)
    taken: list[str] = []
    update = trainer.update
    trainer.update = lambda window: taken.extend(n for b in window for n in b.ids) or update(window)  # type: ignore
    rows = list(train(trainer, data))
    assert sorted(taken) == sorted(utterance.id for utterance in planned.corpus.utterances)
    assert all(row["text_padding"] == 0 for row in rows)
    lengths = planned.corpus.lengths
    for pack in trainer.batches.of_rank(0):
        spent = sum(lengths.durations[row] + 0.08 * lengths.tokens[row] for row in pack)
        assert spent <= BUDGET
        assert planned.used(pack) == pytest.approx(spent / BUDGET)
    table = dict(dry_run(recipe))
    assert table["text padding"] == "0.0%"
    assert table["audio padding"] != "0.0%"  # the encoder hears a batch


def test_a_model_that_does_not_keep_them_apart_is_found_out(
    bases: dict[str, Path], manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_at(tmp_path, bases, manifest, packed=True)
    trainer, data, _ = prepare(recipe, load_task(recipe))
    decoder = trainer.task.model.language_model.get_decoder()
    forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda **given: forward(**{**given, "position_ids": None}))
    with pytest.raises(OptionError, match="a llama language model does not separate packed utterances"):
        trainer.loss(data[[1, 2, 3]].tensors)


def test_only_fusion_models_pack(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    whisper = save_whisper(tmp_path / "whisper", seed=0)
    recipe = recipe_at(tmp_path, bases, manifest, packed=True)
    recipe = replace(recipe, model=type(recipe.model)(checkpoint=str(whisper)), losses=type(recipe.losses)())
    with pytest.raises(OptionError, match="only a fusion model's batches can be `packed`"):
        prepare(recipe, load_task(recipe))
