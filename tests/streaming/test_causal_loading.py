"""A folder with linnet_causal.json is a model of streams, whole or as an adapter to its base."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from linnet.errors import ModelError, OptionError
from linnet.models.causal import CausalSpec
from linnet.streaming import causal_loading
from linnet.streaming.causal_loading import causal_folder, load_causal
from tests.support.tiny_whispers import save_whisper

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for it


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("base"), seed=6)


def test_a_whole_checkpoint_and_an_adapter_to_it(base, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT makes the adapter (extra train)")
    from linnet.models.whisper import load_module

    module = load_module(base, name="base")
    adapted = peft.get_peft_model(copy.deepcopy(module), peft.LoraConfig(r=2, target_modules=["q_proj", "fc2"]))
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_" in name:
                value.normal_()
    adapter, whole = tmp_path / "adapter", save_whisper(tmp_path / "whole", seed=6)
    adapted.save_pretrained(adapter)
    adapted.merge_and_unload().save_pretrained(whole)
    CausalSpec(base=str(base), first_block=20, default_block=10).save(adapter)
    CausalSpec(base="nowhere", first_block=20, default_block=10).save(whole)

    one, other = (load_causal(str(folder), block=0.3) for folder in (adapter, whole))
    assert (one.name, one.block, one.spec.first_block) == (str(adapter), pytest.approx(0.3), 20)
    assert one.engine_name == "torch cpu float32, causal"
    weights, same = (each._model.module.state_dict() for each in (one, other))
    for name, value in weights.items():
        torch.testing.assert_close(value, same[name], rtol=0, atol=1e-6)
    assert not torch.equal(
        weights["model.encoder.layers.0.fc2.weight"], module.state_dict()["model.encoder.layers.0.fc2.weight"]
    )
    with pytest.raises(OptionError, match="blocks of"):
        load_causal(str(whole), block=9.0)
    with pytest.raises(OptionError, match="threads"):
        load_causal(str(whole), threads=0)


def test_other_folders_are_no_causal_models(base, tmp_path):
    assert causal_folder(str(base)) is None
    assert causal_folder("tiny.en") is None
    with pytest.raises(ModelError, match=r"no causal model: point at a folder with linnet_causal\.json"):
        load_causal(str(base))


def test_an_embedded_name_is_found(base, tmp_path, monkeypatch):
    monkeypatch.setattr(causal_loading, "EMBEDDED_ROOT", tmp_path)
    folder = save_whisper(tmp_path / "spoken-stream", seed=6)
    CausalSpec(base="nowhere").save(folder)
    assert causal_folder("spoken-stream") == folder
    assert load_causal("spoken-stream").name == "spoken-stream"
