"""Folders in the format of efficient-speech/lite-whisper-*, written here from random models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSpeechSeq2Seq

from linnet.errors import ModelError
from linnet.models.families import WHISPER, family_of, family_of_model
from linnet.models.lowrank.layers import PairLinear, plan_of
from linnet.models.lowrank.saving import materialize
from linnet.models.whisper import load_whisper
from tests.support.low_rank_models import load, save_compressed_whisper
from tests.support.tiny_whispers import edit_json, random_features


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model whose encoder is low-rank but for one layer, and a folder that holds it in the published format."""
    root = tmp_path_factory.mktemp("published")
    names = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1")
    model, _ = save_compressed_whisper(root, seed=5, forms=["pair"], names=names)
    folder = root / "lite"
    shutil.copytree(root / "base", folder)
    state = load_file(folder / "model.safetensors")
    ranks: list[dict[str, int]] = []
    for index, layer in enumerate(model.model.encoder.layers):
        found = {n.rpartition(".")[2]: (n, m) for n, m in layer.named_modules() if isinstance(m, PairLinear)}
        ranks.append({own: module.rank for own, (_, module) in found.items()})
        for name, module in found.values():
            place = f"model.encoder.layers.{index}.{name}"
            state.pop(f"{place}.weight")
            state[f"{place}.weight1"] = module.first.weight.detach().T.contiguous()
            state[f"{place}.weight2"] = module.second.weight.detach().T.contiguous()
            state[f"{place}.bias"] = module.second.bias.detach().clone()
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"].clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    code = {
        "AutoConfig": "configuration_lite_whisper.LiteWhisperConfig",
        "AutoModel": "modeling_lite_whisper.LiteWhisperForConditionalGeneration",
    }
    edit_json(
        folder / "config.json",
        model_type="lite-whisper",
        architectures=["LiteWhisperForConditionalGeneration"],
        auto_map=code,
        low_rank_config=ranks,
    )
    return model, folder


def logits_of(model: Any) -> torch.Tensor:
    ids = torch.randint(0, 300, (2, 7), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits: torch.Tensor = model(input_features=random_features(2).transpose(1, 2), decoder_input_ids=ids).logits
    return logits


@pytest.mark.parametrize("auto", [AutoModelForSpeechSeq2Seq, AutoModel])
def test_it_loads_without_its_own_code(published: tuple[Any, Path], auto: Any) -> None:
    model, folder = published
    loaded = load(folder, auto)
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert plan_of(loaded) == plan_of(model)
    assert loaded.proj_out.weight is loaded.model.decoder.embed_tokens.weight
    assert loaded.generation_config.no_timestamps_token_id == model.generation_config.no_timestamps_token_id
    assert loaded.dtype == torch.float32


def test_saved_again_it_is_one_of_ours(published: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = published
    load(folder, AutoModelForSpeechSeq2Seq).save_pretrained(tmp_path / "ours")
    assert (tmp_path / "ours" / "modeling_linnet_low_rank.py").is_file()
    again = load(tmp_path / "ours", AutoModelForSpeechSeq2Seq)
    assert type(again).__name__ == "LowRankWhisperForConditionalGeneration"
    assert torch.equal(logits_of(again), logits_of(model))


def test_it_is_a_whisper_for_linnet(published: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = published
    assert family_of(folder) is WHISPER
    assert family_of_model(load(folder, AutoModelForSpeechSeq2Seq)) is WHISPER
    assert torch.equal(logits_of(load_whisper(folder, name="lite").module), logits_of(model))
    materialize(folder, tmp_path / "dense")
    dense = load(tmp_path / "dense", AutoModelForSpeechSeq2Seq)
    torch.testing.assert_close(logits_of(dense), logits_of(model), atol=2e-5, rtol=0)


@pytest.mark.parametrize("ranks", [None, [{"fc1": 9999}]])
def test_ranks_that_make_no_sense_are_named(published: tuple[Any, Path], tmp_path: Path, ranks: Any) -> None:
    shutil.copytree(published[1], tmp_path / "lite")
    edit_json(tmp_path / "lite" / "config.json", low_rank_config=ranks)
    with pytest.raises(ModelError, match=r"low_rank_config|rank 9999"):
        load_whisper(tmp_path / "lite", name="lite")
