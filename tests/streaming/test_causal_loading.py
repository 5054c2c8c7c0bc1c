"""A folder with linnet_causal.json is a model of streams, whole or as an adapter to its base."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from linnet.engines.choice import EngineConfig
from linnet.errors import ModelError, OptionError
from linnet.models.causal import CausalSpec
from linnet.models.whisper import load_module
from linnet.streaming import causal_loading
from linnet.streaming.causal import CausalModel
from linnet.streaming.causal_loading import causal_folder, load_causal
from linnet.streaming.events import Event
from linnet.streaming.models import streaming_model
from linnet.streaming.protocol import Query
from linnet.transcription.recognizer import Recognizer, load
from tests.support.tiny_whispers import save_whisper

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
TORCH = EngineConfig("torch", "f32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("base"), seed=6)


def test_a_whole_checkpoint_and_an_adapter_to_it(base, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT makes the adapter (extra train)")
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

    one, other = (load_causal(str(folder), block=0.3, engine=TORCH) for folder in (adapter, whole))
    assert (one.name, one.block, one.spec.first_block) == (str(adapter), pytest.approx(0.3), 20)
    assert one.engine_name == "torch cpu float32, causal"
    weights, same = (each.whisper.module.state_dict() for each in (one, other))
    for name, value in weights.items():
        torch.testing.assert_close(value, same[name], rtol=0, atol=1e-6)
    assert not torch.equal(
        weights["model.encoder.layers.0.fc2.weight"], module.state_dict()["model.encoder.layers.0.fc2.weight"]
    )
    with pytest.raises(OptionError, match="blocks of"):
        load_causal(str(whole), block=9.0)


def test_a_recognizer_of_a_causal_model_streams_causally():
    recognizer = load("digits-stream", device="cpu", engine="torch", compute_type="bf16")
    model = streaming_model(recognizer, block=0.5)
    assert isinstance(model, CausalModel)
    assert (model.engine_name, model.block) == ("torch cpu bfloat16, causal", pytest.approx(0.5))

    async def events() -> list[Event]:
        return [event async for event in recognizer.stream([np.zeros(1600, np.float32)], language="en")]

    assert asyncio.run(events())[0].engine == model.engine_name
    with pytest.raises(OptionError, match="greedily"):
        streaming_model(recognizer, beam_size=2)


def test_it_is_loaded_as_the_recognizer_was(monkeypatch):
    asked: list[EngineConfig] = []
    monkeypatch.setattr(causal_loading, "load_causal", lambda _, **given: asked.append(given["engine"]))
    ref = SimpleNamespace(name="digits-stream", revision=None)
    for kind, dtype, threads in (("openvino", "int8", 3), ("openvino", "f32", None), ("torch", "float32", 1)):
        backend = SimpleNamespace(engine_name=f"{kind} cpu {dtype}")
        streaming_model(Recognizer(backend, ref, device="cpu", dtype=dtype, threads=threads))
    expected = [("openvino", "int8", 3), ("openvino", "f32", None), ("torch", "f32", 1)]
    assert [(one.engine, one.compute_type, one.threads) for one in asked] == expected


def test_other_folders_are_no_causal_models(base, tmp_path):
    assert causal_folder(str(base)) is None
    assert causal_folder("tiny.en") is None
    with pytest.raises(ModelError, match=r"not a causal model: pass a folder with linnet_causal\.json"):
        load_causal(str(base))


def test_an_embedded_name_is_found(base, tmp_path, monkeypatch):
    monkeypatch.setattr(causal_loading, "EMBEDDED_ROOT", tmp_path)
    folder = save_whisper(tmp_path / "spoken-stream", seed=6)
    CausalSpec(base="nowhere").save(folder)
    assert causal_folder("spoken-stream") == folder
    assert load_causal("spoken-stream", engine=TORCH).name == "spoken-stream"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("kind", "right"), [("auto", 0), ("f32", 0), ("f32", 15)])
def test_on_openvino_it_says_the_same(tmp_path, kind, right):
    folder = save_whisper(tmp_path / "whole", seed=6)
    CausalSpec(base="nowhere", first_block=20, default_block=10, tail_pad=10, right_context=right).save(folder)
    notices: list[str] = []
    wanted = EngineConfig("auto" if kind == "auto" else "openvino", kind, threads=1)
    models = [load_causal(str(folder), engine=each, notify=notices.append) for each in (TORCH, wanted)]
    assert models[1].engine_name.startswith("openvino cpu")
    chosen = models[1].engine_name.split()[2].rstrip(",")
    assert chosen == kind or (kind == "auto" and chosen in ("bf16", "f32"))
    said = ["engine: openvino (the fastest on a CPU)", f"compute type: {chosen}"]
    assert notices[:-1] == (said if kind == "auto" else [])
    assert notices[-1].startswith(f"engine: converting {folder} for OpenVINO, once")
    answers = []
    for model in models:
        memory = model.begin(language="de")
        model.add_audio(memory, np.sin(np.arange(20000) * 0.1).astype(np.float32) * 0.1)
        answers += model.answer([Query(memory, ())])
    assert answers[0].tokens
    if kind == "f32":
        assert answers[0].tokens == answers[1].tokens
        np.testing.assert_allclose(answers[0].token_logprobs, answers[1].token_logprobs, atol=1e-3)


def test_a_large_model_is_run_in_8_bits(tmp_path, monkeypatch):
    folder = save_whisper(tmp_path / "whole", seed=6)
    CausalSpec(base="nowhere", first_block=20, default_block=10, tail_pad=10).save(folder)
    monkeypatch.setattr(causal_loading, "is_small", lambda _: False)
    assert load_causal(str(folder)).engine_name == "openvino cpu int8, causal"
    assert load_causal(str(folder), engine=EngineConfig("openvino", "f32")).engine_name == "openvino cpu f32, causal"
    assert load_causal(str(folder), engine=TORCH).engine_name == "torch cpu float32, causal"


def test_a_conversion_is_kept_until_the_adapter_changes(base, tmp_path):
    names = ["model.encoder.layers.0.fc1", "model.decoder.layers.1.fc2"]
    module = load_module(base, name="base")
    for seed in (1, 2):
        torch.manual_seed(seed)
        shapes = {name: module.get_submodule(name).weight.shape for name in names}
        tensors = {f"base_model.model.{name}.lora_A.weight": torch.randn(2, s[1]) for name, s in shapes.items()}
        tensors |= {f"base_model.model.{name}.lora_B.weight": torch.randn(s[0], 2) for name, s in shapes.items()}
        folder = tmp_path / f"adapter{seed}"
        folder.mkdir()
        save_file(tensors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
        CausalSpec(base=str(base), first_block=20, default_block=10, tail_pad=10).save(folder)
    wanted, notices, answers = EngineConfig("openvino", "f32", threads=1), [], []
    for seed in (1, 2, 1):
        model = load_causal(str(tmp_path / f"adapter{seed}"), engine=wanted, notify=notices.append)
        memory = model.begin(language="de")
        model.add_audio(memory, np.sin(np.arange(20000) * 0.1).astype(np.float32) * 0.1)
        answers += model.answer([Query(memory, ())])
    assert len([line for line in notices if "converting" in line]) == 2
    assert answers[0] == answers[2]
    assert answers[0].token_logprobs != answers[1].token_logprobs
    (tmp_path / "adapter1" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is missing"):
        load_causal(str(tmp_path / "adapter1"), engine=wanted)


def test_what_no_engine_can_is_refused(tmp_path):
    folder = save_whisper(tmp_path / "whole", seed=6)
    CausalSpec(base="nowhere").save(folder)
    with pytest.raises(OptionError, match="w8a8"):
        load_causal(str(folder), engine=EngineConfig("openvino", "w8a8"))
