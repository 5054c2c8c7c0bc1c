"""A packed folder is unpacked once, into a folder that loads like any other; the embedded one stands in for it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from linnet.errors import ModelError, OutputError
from linnet.models import catalog, default, unpacked
from linnet.models import resolve as resolve_module
from linnet.models.causal import CausalSpec, read_causal_spec
from linnet.models.packed import FILE, Codes, Packed, write_packed
from linnet.models.resolve import last_resort, resolve
from linnet.models.whisper import load_whisper
from tests.support.tiny_whispers import save_whisper


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("dense") / "model")


@pytest.fixture
def source(dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The dense model packed to 8 bits a row, as an embedded model `en` beside `digits`; an empty cache."""
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    for module in (resolve_module, catalog):
        monkeypatch.setattr(module, "EMBEDDED_ROOT", tmp_path / "embedded")
    shutil.copytree(dense, tmp_path / "embedded" / "digits")
    folder = tmp_path / "embedded" / "en"
    folder.mkdir()
    for path in dense.iterdir():
        if path.name not in ("model.safetensors", "tokenizer.json"):
            shutil.copyfile(path, folder / path.name)
    weights = load_file(dense / "model.safetensors")
    codes = {name: in_bytes(value) for name, value in weights.items() if value.ndim > 1}
    rest = {name: value.astype(np.float16) for name, value in weights.items() if value.ndim == 1}
    files = {"tokenizer.json": (dense / "tokenizer.json").read_bytes()}
    write_packed(folder / FILE, Packed(codes, rest, {}, files))
    return folder


def in_bytes(weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Codes:
    flat = weight.reshape(len(weight), -1)
    rows = (np.maximum(np.abs(flat).max(1), 1e-3) / 120).astype(np.float16)
    values = np.round(flat / rows.astype(np.float32)[:, None]).astype(np.int8)
    return Codes(values, rows, np.ones(flat.shape[1], np.float16), weight.shape)


def test_it_loads_like_the_folder_that_was_packed(source: Path, dense: Path) -> None:
    ref = resolve("en")
    assert (ref.name, ref.origin) == ("en", "embedded")
    found, exact = load_whisper(ref.path, name="en"), load_whisper(dense, name="dense")
    assert replace(found.vocabulary, tokenizer=None) == replace(exact.vocabulary, tokenizer=None)
    assert found.vocabulary.tokenizer.get_vocab() == exact.vocabulary.tokenizer.get_vocab()
    for name, weight in exact.module.state_dict().items():
        bound = float(weight.abs().max()) / 200 + 2e-3
        assert float((found.module.state_dict()[name] - weight).abs().max()) < bound, name


def test_it_is_unpacked_once_and_again_where_damaged(source: Path) -> None:
    first = resolve("en").path
    weights = first / "model.safetensors"
    begun = weights.stat().st_mtime_ns
    assert resolve("en").path == first
    assert weights.stat().st_mtime_ns == begun
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    assert (resolve("en").path / "model.safetensors").read_bytes() == whole


def test_what_changes_in_the_source_is_unpacked_anew(source: Path) -> None:
    first = resolve("en")
    (source / "generation_config.json").write_text("{}", encoding="utf-8")
    second = resolve("en")
    assert (second.path != first.path, second.revision != first.revision) == (True, True)


@pytest.fixture
def adapter(source: Path) -> tuple[Path, Any]:
    """The embedded adapter `en-stream` to `en`, and what PEFT merges it into."""
    peft = pytest.importorskip("peft", reason="PEFT makes the adapter (extra train)")
    base = load_whisper(resolve("en").path, name="en").module.float()
    torch.manual_seed(1)
    made = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "fc1"], init_lora_weights=False))
    folder = source.parent / "en-stream"
    made.save_pretrained(folder)
    shutil.copyfile(source / "config.json", folder / "config.json")
    CausalSpec(base="en", default_block=40).save(folder)
    return folder, made.merge_and_unload()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_becomes_the_model_that_it_makes_of_its_neighbour(adapter) -> None:
    ref = resolve("en-stream")
    assert (ref.name, ref.origin) == ("en-stream", "embedded")
    found = load_whisper(ref.path, name="en-stream").module.state_dict()
    for name, weight in adapter[1].state_dict().items():
        assert torch.equal(found[name].half(), weight.half()), name
    spec = read_causal_spec(ref.path)
    assert (spec.base, spec.default_block) == ("en", 40)
    assert resolve("en-stream").path == ref.path
    assert {entry.name: entry.kind for entry in catalog.list_models()}["en-stream"] == "whisper"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_is_merged_anew_where_it_or_its_neighbour_changes(source: Path, adapter) -> None:
    first = resolve("en-stream")
    (source / "generation_config.json").write_text("{}", encoding="utf-8")
    second = resolve("en-stream")
    CausalSpec(base="en", default_block=30).save(adapter[0])
    third = resolve("en-stream")
    assert len({first.path, second.path, third.path}) == 3
    assert read_causal_spec(third.path).default_block == 30


def test_a_folder_by_its_path_is_unpacked_too(source: Path) -> None:
    ref = resolve(str(source))
    assert (ref.origin, ref.path) == ("folder", resolve("en").path)


def test_any_other_folder_is_left_as_it_is(source: Path) -> None:
    folder = source.parent / "digits"
    assert unpacked.unpacked_folder(folder) == folder


def test_a_cache_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="set LINNET_CACHE to another folder"):
        resolve("en")


def test_a_damaged_file_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    (source / FILE).write_bytes((source / FILE).read_bytes()[:-10])
    with pytest.raises(ModelError, match="is damaged"):
        resolve("en")
    assert not list((tmp_path / "cache" / "unpacked").glob("*/*"))


def test_a_file_with_a_name_of_no_model_file_is_refused(source: Path) -> None:
    write_packed(source / FILE, Packed({}, {}, {}, {"../evil.json": b"{}"}))
    with pytest.raises(ModelError, match=r"holds \.\./evil\.json, which is not a model file"):
        resolve("en")


def test_the_list_and_the_info_show_it(source: Path) -> None:
    found = {entry.name: entry for entry in catalog.list_models()}
    assert (found["en"].origin, found["en"].kind) == ("embedded", "whisper")
    assert catalog.info("en").weight_dtypes == ("F16",)
    assert catalog.folders("en") == [resolve("en").path]
    with pytest.raises(ModelError, match="part of Linnet and cannot be removed"):
        catalog.remove("en")


def test_it_is_the_default_where_nothing_else_can_be_had(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("linnet.models.default.find", lambda name: None)
    told: list[str] = []
    assert default.resolve_default(False, offline=True, notify=told.append).name == "en"
    assert "openai/whisper-tiny.en with compressed weights, inside the package; it recognizes English only" in told[-1]
    shutil.rmtree(source)
    assert last_resort() == "digits"
    assert default.resolve_default(False, offline=True, notify=told.append).name == "digits"
