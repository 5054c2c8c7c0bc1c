"""Fusion models in folders: what is saved, what is loaded, and the front doors of Transformers and Linnet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

import linnet
from linnet.errors import ModelError
from linnet.models.fusion import FusionForConditionalGeneration, build
from linnet.models.fusion.adapters import Lora, add_lora, fold_lora, lora_layers
from tests.support.hub_cache import COMMIT, add_to_cache
from tests.support.tiny_fusion import TEXTS, clips, fusion, one_thread, save_all, trained_fusion


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("bases"), ("hubert", "whisper", "llama", "qwen3", "smollm3"))


@pytest.fixture(scope="module")
def saved(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, processor = trained_fusion(bases)
    folder = tmp_path_factory.mktemp("fusion") / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return AutoModelForSpeechSeq2Seq.from_pretrained(folder, local_files_only=True, **options)


# --- folders


def test_a_folder_holds_what_was_trained_and_names_its_bases(saved: Path, bases: dict[str, Path]) -> None:
    with safe_open(saved / "model.safetensors", "np") as file:
        assert all(name.startswith("projector.") for name in file.keys())  # noqa: SIM118 (no dict)
    config = json.loads((saved / "config.json").read_text())
    assert config["bases"]["encoder"]["name"] == str(bases["hubert"])
    assert config["bases"]["language_model"]["name"] == str(bases["qwen3"])
    assert all(len(base["revision"]) == 12 for base in config["bases"].values())


def test_a_loaded_folder_is_the_same_model(saved: Path, bases: dict[str, Path], tmp_path: Path) -> None:
    model, processor = trained_fusion(bases)
    again, read = load(saved), AutoProcessor.from_pretrained(saved)
    batch = processor(clips(), TEXTS)
    assert {name: value.tolist() for name, value in read(clips(), TEXTS).items()} == {
        name: value.tolist() for name, value in batch.items()
    }
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, model(**batch).logits)
    assert {name for name, value in again.named_parameters() if value.requires_grad} == {
        name for name, _ in again.named_parameters() if name.startswith("projector.")
    }
    assert not again.training
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()
    assert load(saved, dtype=torch.bfloat16)(**batch).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("language_model", ["qwen3", "smollm3"])  # the first has one table for words in and words out
def test_whatever_was_trained_is_in_the_folder(bases: dict[str, Path], tmp_path: Path, language_model: str) -> None:
    model, processor = fusion(bases, language_model=language_model)
    for part in (model.language_model, model.encoder.encoder.layers[-1]):
        part.requires_grad_(True)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, model(**batch).logits)


def test_a_merged_folder_needs_no_bases(saved: Path, bases: dict[str, Path], tmp_path: Path) -> None:
    model, processor = load(saved), AutoProcessor.from_pretrained(saved)
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        expected = model(**batch).logits
        model.merge()
        model.save_pretrained(tmp_path / "whole")
        config = json.loads((tmp_path / "whole" / "config.json").read_text())
        assert config["bases"] is None
        torch.testing.assert_close(load(tmp_path / "whole")(**batch).logits, expected)


def test_adapters_are_saved_loaded_and_folded(bases: dict[str, Path], tmp_path: Path) -> None:
    model, processor = fusion(bases)
    lora = Lora(r=2, alpha=4, targets=("q_proj", "v_proj"))
    for part in ("encoder", "language_model"):
        add_lora(model.get_submodule(part), lora)
    model.config.adapters = {part: lora.as_dict() for part in ("encoder", "language_model")}
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
                value.requires_grad_(True)
        expected = model(**batch).logits
        assert not torch.allclose(expected, fusion(bases)[0](**batch).logits, atol=1e-3)
        model.save_pretrained(tmp_path / "lora")
        with safe_open(tmp_path / "lora" / "model.safetensors", "np") as file:
            names = set(file.keys())
        assert all("lora_" in name or name.startswith("projector.") for name in names)
        again = load(tmp_path / "lora")
        torch.testing.assert_close(again(**batch).logits, expected)
        again.merge()
        assert not list(lora_layers(again))
        again.save_pretrained(tmp_path / "whole")
        torch.testing.assert_close(load(tmp_path / "whole")(**batch).logits, expected, rtol=1e-4, atol=1e-4)


def test_folded_adapters_are_the_closed_form() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(5, 4, bias=False))
    weight = module[0].weight.detach().clone()
    add_lora(module, Lora(r=2, alpha=6))
    layer: Any = module[0]
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    up, down = layer.lora_B["default"].weight.detach(), layer.lora_A["default"].weight.detach()
    fold_lora(module)
    torch.testing.assert_close(module[0].weight.detach(), weight + 3.0 * up @ down)
    with pytest.raises(ModelError, match="Sequential has no linear layer named q_proj; it has 0"):
        add_lora(module, Lora(targets=("q_proj",)))


def test_a_missing_or_changed_base_is_named(saved: Path, tmp_path: Path) -> None:
    def folder(place: str, **changes: Any) -> Path:
        copied = tmp_path / place
        copied.mkdir()
        for path in saved.iterdir():
            if path.is_file():
                (copied / path.name).write_bytes(path.read_bytes())
        config = json.loads((saved / "config.json").read_text())
        config["bases"]["encoder"] |= changes
        (copied / "config.json").write_text(json.dumps(config))
        return copied

    with pytest.raises(ModelError, match=r"base model nobody/hubert at revision .* the speech encoder of this model"):
        load(folder("gone", name="nobody/hubert"))
    with pytest.raises(ModelError, match="the folder does not exist"):
        load(folder("moved", name="/no/hubert"))
    with pytest.raises(ModelError, match="is not the one it was trained on"):
        load(folder("changed", revision="0123456789ab"))
    with pytest.raises(linnet.LinnetError, match="nobody/hubert"):
        linnet.load(str(tmp_path / "gone"))


def test_models_and_bases_come_from_the_hub_at_their_revisions(
    saved: Path, bases: dict[str, Path], tmp_path: Path
) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    config = json.loads((saved / "config.json").read_text())
    for part, name in (("encoder", "hubert"), ("language_model", "qwen3")):
        config["bases"][part] = {"name": f"nobody/{name}", "revision": COMMIT}
        add_to_cache(tmp_path, f"nobody/{name}", files(bases[name]))
    add_to_cache(tmp_path, "nobody/fusion", {**files(saved), "config.json": json.dumps(config).encode()})
    model = AutoModelForSpeechSeq2Seq.from_pretrained("nobody/fusion", cache_dir=tmp_path, revision=COMMIT)
    batch = AutoProcessor.from_pretrained(saved)(clips(), TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, load(saved)(**batch).logits)


def test_bases_that_do_not_fit_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown speech encoder type 'llama'"):
        fusion(bases, encoder="llama")
    with pytest.raises(ModelError, match=r"base model .*nowhere, the speech encoder"):
        build(str(tmp_path / "nowhere"), str(bases["llama"]))
    folder = tmp_path / "odd"
    folder.mkdir()
    for path in bases["whisper"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    features = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**features, "hop_length": 200}))
    with pytest.raises(ModelError, match="hop_length 200; only 160"):
        build(str(folder), str(bases["llama"]))


# --- front doors


def test_the_pipeline_of_transformers_takes_beams_and_lengths(saved: Path) -> None:
    asr = pipeline("automatic-speech-recognition", str(saved))
    model, processor = load(saved), AutoProcessor.from_pretrained(saved)
    options: dict[str, Any] = {"num_beams": 3, "length_penalty": 0.5, "max_new_tokens": 7}
    expected = processor.batch_decode(model.generate(**processor(clips()), **options), skip_special_tokens=True)
    assert [row["text"] for row in asr(clips(), batch_size=2, **options)] == expected
    assert asr(clips()[2], generate_kwargs=options)["text"] == expected[2]
    assert any(expected)


def test_linnet_loads_and_transcribes_a_folder(saved: Path) -> None:
    recognizer = linnet.load(str(saved), device="cpu")
    sound = np.concatenate([clips()[2]] * 28)  # 35 s: two windows
    transcript = recognizer.transcribe(sound, vad=False, max_new_tokens=5)
    assert transcript.duration == pytest.approx(35.0)
    assert len(transcript.segments) == 2
    model, processor = load(saved), AutoProcessor.from_pretrained(saved)
    (answer,) = model.generate(**processor(clips()[2]), max_new_tokens=5, num_beams=2)
    heard = recognizer.transcribe(clips()[2], vad=False, max_new_tokens=5, beam_size=2)
    assert heard.text == processor.decode(answer, skip_special_tokens=True)


def run(code: str, tmp_path: Path) -> list[str]:
    """The lines that a fresh Python prints."""
    (tmp_path / "code.py").write_text(code)
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "code.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


_SOUND = "import numpy as np; sound = np.random.default_rng(0).standard_normal(8000).astype('float32') * 0.1\n"
_ASK = "print(pipeline('automatic-speech-recognition', folder, {})(sound, num_beams=2, max_new_tokens=7)['text'])\n"


def test_the_auto_classes_know_the_model_after_import_linnet_and_load_it_late(saved: Path, tmp_path: Path) -> None:
    code = (
        "import sys, linnet\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules) or 'nothing heavy')\n"
        + _SOUND
        + f"folder = {str(saved)!r}\n"
        + "from transformers import AutoConfig, AutoModelForSpeechSeq2Seq\n"
        + "import transformers.models.auto.modeling_auto\n"
        + "from transformers import AutoProcessor, pipeline\n"
        + "assert 'linnet.models.fusion.modeling' not in sys.modules, 'two seconds for every start'\n"
        + "config = AutoConfig.for_model('linnet_fusion')\n"
        + "print(AutoModelForSpeechSeq2Seq._model_mapping[type(config)].__name__)\n"
        + "print(type(AutoConfig.from_pretrained(folder)).__module__)\n"
        + "print(type(AutoProcessor.from_pretrained(folder)).__module__)\n"
        + "print(type(AutoModelForSpeechSeq2Seq.from_pretrained(folder)).__module__)\n"
        + _ASK.format("")
    )
    home = "linnet.models.fusion"
    said = run(code, tmp_path)
    assert said[:2] == ["nothing heavy", "FusionForConditionalGeneration"]
    assert said[2:5] == [f"{home}.configuration", f"{home}.processing", f"{home}.modeling"]
    assert FusionForConditionalGeneration.__module__ == said[4]
