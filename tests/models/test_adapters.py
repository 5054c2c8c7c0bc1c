"""Merged adapters are those that PEFT merges; what does not fit is refused by its name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.errors import ModelError
from linnet.models.adapters import is_adapter, merge_adapter
from tests.support.tiny_whispers import edit_json, random_whisper, small_tokenizer

peft = pytest.importorskip("peft", reason="PEFT is the oracle (extra train)")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for it


@pytest.fixture(scope="module")
def whisper() -> Any:
    return random_whisper(small_tokenizer(), seed=1)


def save_adapter(whisper: Any, folder: Path, **options: Any) -> Any:
    """An adapter of random numbers, saved by PEFT; the model that PEFT merges it into."""
    torch.manual_seed(2)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "fc1", "out_proj"], **options}
    adapted = peft.get_peft_model(copy.deepcopy(whisper), peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                value.normal_(std=0.3)
    adapted.save_pretrained(folder)
    return adapted.merge_and_unload()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"encoder.layers.0.fc1": 2}, "alpha_pattern": {"fc1": 3, "decoder.*q_proj": 5}},
        {"modules_to_save": ["layer_norm"]},
    ],
    ids=["plain", "rslora", "patterns", "whole"],
)
def test_merging_is_that_of_peft(whisper, tmp_path, options):
    want = save_adapter(whisper, tmp_path, **options).state_dict()
    module = copy.deepcopy(whisper)
    merge_adapter(module, tmp_path)
    got, changed = module.state_dict(), 0
    assert got.keys() == want.keys()
    for name, value in got.items():
        torch.testing.assert_close(value, want[name], rtol=0, atol=1e-6)
        changed += not torch.equal(value, whisper.state_dict()[name])
    assert changed >= 16
    assert is_adapter(tmp_path)


def test_what_does_not_fit_is_refused(whisper, tmp_path):
    save_adapter(whisper, tmp_path)
    other = random_whisper(small_tokenizer(), seed=1)
    del other.model.encoder.layers[1]
    with pytest.raises(ModelError, match=r"no layer model\.encoder\.layers\.1\..*another model"):
        merge_adapter(other, tmp_path)
    wider = copy.deepcopy(whisper)
    wider.model.encoder.layers[0].fc1 = torch.nn.Linear(64, 97)
    with pytest.raises(ModelError, match=r"does not fit layer model\.encoder\.layers\.0\.fc1"):
        merge_adapter(wider, tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is damaged"):
        merge_adapter(whisper, tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is missing"):
        merge_adapter(whisper, tmp_path)
    edit_json(tmp_path / "adapter_config.json", use_dora=True)
    with pytest.raises(ModelError, match="only plain LoRA"):
        merge_adapter(whisper, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 4
