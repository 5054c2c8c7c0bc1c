"""Low-rank layers under PEFT and under gradients: their halves are linear layers as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSpeechSeq2Seq

from linnet.models.lowrank.layers import plan_of
from tests.support.low_rank_models import load, save_compressed_whisper
from tests.support.tiny_whispers import random_features


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_compressed_whisper(tmp_path_factory.mktemp("peft"), seed=2)[1]


def batch() -> dict[str, torch.Tensor]:
    labels = torch.randint(0, 290, (2, 6), generator=torch.Generator().manual_seed(4))
    return {"input_features": random_features(2).transpose(1, 2), "labels": labels}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT asks for it
def test_lora_on_both_halves(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = load(folder, AutoModelForSpeechSeq2Seq)
    plan, before = plan_of(model), model(**batch()).logits.detach()
    tuned: Any = get_peft_model(model, LoraConfig(r=2, target_modules=["first", "second", "rest"]))
    torch.testing.assert_close(tuned(**batch()).logits, before)
    trained = {name: value for name, value in tuned.named_parameters() if value.requires_grad}
    halves = sum(2 for told in plan.values() for _ in ("first", "other"))
    assert len(trained) == halves
    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        tuned(**batch()).loss.backward()
        optimizer.step()
    after = tuned(**batch()).logits.detach()
    assert (after - before).abs().max() > 1e-3
    tuned.save_pretrained(tmp_path / "adapters")
    again = PeftModel.from_pretrained(load(folder, AutoModelForSpeechSeq2Seq), str(tmp_path / "adapters"))
    torch.testing.assert_close(again(**batch()).logits, after)
    merged = tuned.merge_and_unload()
    assert plan_of(merged) == plan
    merged.save_pretrained(tmp_path / "merged")
    whole = load(tmp_path / "merged", AutoModelForSpeechSeq2Seq)
    torch.testing.assert_close(whole(**batch()).logits, after, atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_half(folder: Path) -> None:
    model = load(folder, AutoModelForSpeechSeq2Seq)
    model(**batch()).loss.backward()
    named = dict(model.named_parameters())
    for name, told in plan_of(model).items():
        for half in ("first", "rest" if told["form"] == "pivot" else "second"):
            gradient = named[f"{name}.{half}.weight"].grad
            assert gradient is not None
            assert gradient.abs().max() > 0, f"{name}.{half}"
