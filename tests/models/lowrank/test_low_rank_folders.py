"""Low-rank models in folders: what is saved, who can load it, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoModelForSpeechSeq2Seq, WhisperForConditionalGeneration, pipeline

import linnet
from linnet.audio.types import Audio
from linnet.errors import ModelError, OptionError, OutputError
from linnet.models.fusion import build
from linnet.models.fusion.adapters import Lora, add_lora
from linnet.models.lowrank.layers import PairLinear, is_low_rank, plan_of
from linnet.models.lowrank.saving import load_low_rank, materialize, save_low_rank
from linnet.models.whisper import load_whisper
from tests.support.forked import run_python
from tests.support.low_rank_models import AUTO, compress, load, save_compressed_whisper
from tests.support.tiny_fusion import TEXTS, clips, trained_fusion
from tests.support.tiny_fusion import save_all as save_bases
from tests.support.tiny_speech import save_all
from tests.support.tiny_whispers import edit_json, random_features, save_whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    return save_compressed_whisper(tmp_path_factory.mktemp("whisper"), seed=1)


def whisper_logits(model: Any) -> torch.Tensor:
    ids = torch.randint(0, 300, (2, 7), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits: torch.Tensor = model(input_features=random_features(2).transpose(1, 2), decoder_input_ids=ids).logits
    return logits


def test_a_folder_is_whole(whisper: tuple[Any, Path]) -> None:
    model, folder = whisper
    base = folder.parent / "base"
    for path in base.iterdir():
        assert (folder / path.name).is_file()
        if path.name not in ("config.json", "model.safetensors"):
            assert (folder / path.name).read_bytes() == path.read_bytes()
    assert (folder / "README.md").read_text() == "# A small model\n"
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "linnet_low_rank"
    assert config["linnet_low_rank"]["layers"] == plan_of(model)
    assert {told["form"] for told in plan_of(model).values()} == {"pair", "pivot"}
    with safe_open(folder / "model.safetensors", "np") as file:
        names = set(file.keys())
    assert "model.encoder.layers.0.self_attn.q_proj.first.weight" in names
    assert not {"proj_out.weight", "model.encoder.layers.0.self_attn.q_proj.weight"} & names


def test_a_loaded_folder_is_the_same_model(whisper: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = whisper
    again = load(folder, AutoModelForSpeechSeq2Seq)
    assert torch.equal(whisper_logits(again), whisper_logits(model))
    assert again.proj_out.weight is again.model.decoder.embed_tokens.weight
    assert plan_of(again) == plan_of(model)
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert torch.equal(whisper_logits(load(tmp_path / "again", AutoModelForSpeechSeq2Seq)), whisper_logits(model))
    inner = load(folder, AutoModel)
    assert torch.equal(inner.encoder.layers[0].fc1.first.weight, model.model.encoder.layers[0].fc1.first.weight)


def test_the_dense_layers_are_never_allocated(whisper: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each linear layer of the base is made on the meta device, before low-rank ones take the places of some."""
    made: list[str] = []
    plain = torch.nn.Linear.__init__

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        made.append(self.weight.device.type)

    monkeypatch.setattr(torch.nn.Linear, "__init__", watched)
    load(whisper[1], AutoModelForSpeechSeq2Seq)
    assert made
    assert set(made) == {"meta"}


def test_a_tied_head_is_tied_whatever_counts_as_missing(whisper: tuple[Any, Path]) -> None:
    """Transformers 5.3 leaves it out of the missing keys of a model with code of its own, and on the meta device."""
    model = load(whisper[1], AutoModelForSpeechSeq2Seq)
    model.proj_out.weight = torch.nn.Parameter(torch.empty(model.proj_out.weight.shape, device="meta"))
    model.tie_weights(missing_keys=set(), recompute_mapping=False)
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight


def test_weights_are_stored_as_asked(whisper: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = whisper
    save_low_rank(model, folder.parent / "base", tmp_path / "half", dtype=torch.float16)
    with safe_open(tmp_path / "half" / "model.safetensors", "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118 (no dict)
    assert kinds == {torch.float16, torch.int64}  # the latter: orders of outputs
    assert model.dtype == torch.float32
    assert (
        whisper_logits(load(tmp_path / "half", AutoModelForSpeechSeq2Seq)) - whisper_logits(model)
    ).abs().max() < 0.1


def test_import_linnet_stays_light() -> None:
    code = "import sys, linnet; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_transformers_pipeline_reads_it(whisper: tuple[Any, Path], tmp_path: Path) -> None:
    """Short, with times, and long form, the same as from the dense model."""
    shutil.copytree(whisper[1], tmp_path / "low")
    materialize(tmp_path / "low", tmp_path / "dense")
    found = []
    for folder in (tmp_path / "low", tmp_path / "dense"):
        edit_json(folder / "tokenizer_config.json", tokenizer_class="WhisperTokenizer")
        found.append(pipeline("automatic-speech-recognition", model=str(folder), dtype=torch.float32))
    assert found[0].type == found[1].type == "seq2seq_whisper"
    short, long = clips()[0], np.concatenate([clips()[2]] * 4)
    for sound, given in ((short, {}), (short, {"return_timestamps": True}), (long, {"return_timestamps": True})):
        asked = {"generate_kwargs": {"language": "en", "num_beams": 1, "max_new_tokens": 12}, **given}
        texts = [reader(sound.copy(), **asked) for reader in found]
        assert texts[0] == texts[1]
        assert texts[0]["text"]


def test_written_dense_it_is_the_same(whisper: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = whisper
    materialize(folder, tmp_path / "dense")
    dense = WhisperForConditionalGeneration.from_pretrained(tmp_path / "dense", dtype=torch.float32).eval()
    assert not is_low_rank(dense)
    torch.testing.assert_close(whisper_logits(dense), whisper_logits(model), atol=2e-5, rtol=0)
    assert "linnet_low_rank" not in (tmp_path / "dense" / "config.json").read_text()
    assert {path.name for path in (tmp_path / "dense").iterdir()} == {
        p.name for p in (folder.parent / "base").iterdir()
    }
    with pytest.raises(OptionError, match="already dense"):
        materialize(tmp_path / "dense", tmp_path / "again")


# --- other architectures


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("others"))


def inputs_of(name: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if name == "parakeet":
        return {"input_features": torch.randn(2, 160, 80, generator=generator)}
    if name == "speech2text":
        features = torch.randn(2, 100, 80, generator=generator)
        return {"input_features": features, "decoder_input_ids": torch.tensor([[2, 5], [2, 9]])}
    sound = {"input_values": torch.randn(2, 8000, generator=generator)}
    return {**sound, "decoder_input_ids": torch.tensor([[1, 5], [1, 9]])} if name == "moonshine" else sound


@pytest.mark.parametrize("name", AUTO)
def test_any_architecture_is_saved_and_loaded(others: dict[str, Path], name: str, tmp_path: Path) -> None:
    model = load(others[name], AUTO[name])
    assert compress(model, ".encoder.", rank=6)
    with torch.no_grad():
        want = model(**inputs_of(name)).logits
    save_low_rank(model, others[name], tmp_path / "low")
    again = load(tmp_path / "low", AUTO[name])
    with torch.no_grad():
        assert torch.equal(again(**inputs_of(name)).logits, want)
    materialize(tmp_path / "low", tmp_path / "dense")
    dense = load(tmp_path / "dense", AUTO[name])
    assert type(dense) is type(load(others[name], AUTO[name]))
    with torch.no_grad():
        torch.testing.assert_close(dense(**inputs_of(name)).logits, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", AUTO)
def test_it_is_heard_with_as_the_dense_model_is(others: dict[str, Path], name: str, tmp_path: Path) -> None:
    """By Linnet, and by the pipeline of Transformers, which tells kinds of models by their names."""
    model = load(others[name], AUTO[name])
    compress(model, ".encoder.", rank=6)
    save_low_rank(model, others[name], tmp_path / "low")
    materialize(tmp_path / "low", tmp_path / "dense")
    sound, kinds, texts = clips()[2], set(), []
    for folder in (tmp_path / "low", tmp_path / "dense"):
        texts.append(linnet.load(str(folder), device="cpu", compute_type="f32").transcribe(Audio(sound, "noise")).text)
        reader = pipeline("automatic-speech-recognition", model=str(folder), dtype=torch.float32)
        kinds.add(reader.type)
        few = {} if reader.type == "ctc" else {"generate_kwargs": {"max_new_tokens": 12, "num_beams": 1}}
        texts.append(reader(sound.copy(), **few)["text"])
    assert texts[:2] == texts[2:]
    assert kinds == {"seq2seq" if name in ("moonshine", "speech2text") else "ctc"}


def test_the_encoder_of_a_fusion_model(tmp_path: Path) -> None:
    bases = save_bases(tmp_path / "bases", ("hubert", "qwen3"))
    model, processor = trained_fusion(bases)
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    assert compress(model, "encoder.", rank=6)
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        want = model(**batch).logits
    save_low_rank(model, tmp_path / "base", tmp_path / "low")
    again = load(tmp_path / "low", AutoModelForSpeechSeq2Seq)
    assert plan_of(again) == plan_of(model)
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, want)
    assert isinstance(linnet.load(str(tmp_path / "low")), linnet.Recognizer)
    code = (
        "import linnet; from transformers import AutoModelForSpeechSeq2Seq as Auto; "
        f"print(type(Auto.from_pretrained({str(tmp_path / 'low')!r})).__name__)"
    )
    done = run_python(code, cwd=tmp_path)  # where no fusion model was made before
    assert done.stdout.strip() == "LowRankFusionForConditionalGeneration", done.stderr


def test_adapters_of_a_low_rank_fusion_model(tmp_path: Path) -> None:
    """They are in the halves, stay adapters in the folder, and are loaded into layers that are low-rank by then."""
    bases = save_bases(tmp_path / "bases", ("hubert", "qwen3"))
    model, processor = trained_fusion(bases)
    processor.save_pretrained(tmp_path / "base")
    compress(model, "encoder.", rank=6)
    save_low_rank(model, tmp_path / "base", tmp_path / "low")
    tuned = load(tmp_path / "low", AutoModelForSpeechSeq2Seq)
    lora = Lora(r=2, targets=("first", "second"))
    add_lora(tuned.encoder, lora)
    tuned.config.adapters = {"encoder": lora.as_dict()}
    with torch.no_grad():
        for name, value in tuned.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
    with pytest.raises(OptionError, match="has adapters"):
        save_low_rank(tuned, tmp_path / "base", tmp_path / "never")
    tuned.save_pretrained(tmp_path / "tuned")
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        want = tuned(**batch).logits
        torch.testing.assert_close(load(tmp_path / "tuned", AutoModelForSpeechSeq2Seq)(**batch).logits, want)


# --- what is refused


def test_a_fusion_model_is_not_built_on_a_low_rank_base(whisper: tuple[Any, Path], tmp_path: Path) -> None:
    bases = save_bases(tmp_path / "bases", ("qwen3",))
    with pytest.raises(ModelError, match="has low-rank layers, which fusion models do not support"):
        build(str(whisper[1]), str(bases["qwen3"]))


def test_a_model_without_low_rank_layers_is_refused(tmp_path: Path) -> None:
    base = save_whisper(tmp_path / "base")
    with pytest.raises(OptionError, match="no low-rank layers"):
        save_low_rank(load(base, AutoModelForSpeechSeq2Seq), base, tmp_path / "low")
    assert not (tmp_path / "low").exists()


def test_nothing_is_overwritten(whisper: tuple[Any, Path], tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    with pytest.raises(OutputError, match="already exists"):
        save_low_rank(whisper[0], whisper[1].parent / "base", tmp_path / "low")


def test_a_bias_that_a_dense_layer_cannot_hold_is_named(others: dict[str, Path], tmp_path: Path) -> None:
    model = load(others["moonshine"], AutoModelForSpeechSeq2Seq)
    compress(model, ".encoder.", rank=6, names=["q_proj"], bias=True)
    with pytest.raises(ModelError, match=r"q_proj has a bias, but this layer of a dense moonshine model has none"):
        materialize(model, tmp_path / "dense")
    assert not (tmp_path / "dense").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"layers": {"model.encoder.layers.9.fc1": {"rank": 2, "form": "pair"}}},
            "no layer model.encoder.layers.9.fc1",
        ),
        ({"layers": {"model.encoder.layers.0.fc1": {"rank": 2000, "form": "pair"}}}, "rank 2000 does not fit"),
        ({"layers": {"model.encoder.layer_norm": {"rank": 2, "form": "pair"}}}, "is not a linear layer"),
        ({"base_model_type": "nonsense"}, "nonsense"),
        ({"base_model_type": None}, "does not name the type of its base"),
    ],
)
def test_a_damaged_plan_is_named(whisper: tuple[Any, Path], tmp_path: Path, change: dict[str, Any], told: str) -> None:
    folder = tmp_path / "low"
    save_low_rank(whisper[0], whisper[1].parent / "base", folder)
    plan = json.loads((folder / "config.json").read_text())["linnet_low_rank"]
    edit_json(folder / "config.json", linnet_low_rank={**plan, **change})
    with pytest.raises(ModelError, match=told):
        load_whisper(folder, name="low")


def test_a_low_rank_folder_loads_as_any_model_of_its_family(whisper: tuple[Any, Path]) -> None:
    model = load_low_rank(whisper[1])
    assert isinstance(model.model.encoder.layers[0].self_attn.q_proj, PairLinear)
    loaded = load_whisper(whisper[1], name="low")
    assert torch.equal(whisper_logits(loaded.module), whisper_logits(model))
    light = load_whisper(whisper[1], name="low", weights=False)
    assert (light.n_mels, light.window_samples) == (loaded.n_mels, loaded.window_samples)
