"""Converted models are found again, rebuilt where they are damaged, and safe with two processes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linnet.engines.openvino import OpenVinoEngine, cache, export, runtime
from linnet.engines.openvino.cache import ConvertedModel, ModelSource, compile_converted, load_compiled, load_converted
from linnet.engines.openvino.formats import Precision
from linnet.engines.openvino.runtime import compile_model
from linnet.errors import ModelError
from linnet.models.whisper import load_module
from tests.support.damaged_conversions import DAMAGES
from tests.support.forked import CONTEXT
from tests.support.killed_process import killed_draft
from tests.support.tiny_whispers import random_features, save_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("cached"), seed=2, layers=1)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def convert(folder: Path) -> tuple[ConvertedModel, list[str]]:
    told: list[str] = []
    source = ModelSource(folder, "m", lambda: load_module(folder, name="m", dtype=torch.float32))
    return load_converted(source, Precision("f32", "f32"), told.append), told


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache after the first conversion."""
    cache = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNET_CACHE", str(cache))
        convert(folder)
    return cache / "openvino"


@pytest.fixture
def kept(made: Path, root: Path) -> None:
    """The model has been converted before."""
    shutil.copytree(made, root)


def works(converted: ConvertedModel) -> bool:
    engine = OpenVinoEngine(compile_converted(converted, 1), label="f32")
    return bool(np.isfinite(engine.encode(random_features(1)).cross[0]).all())


def test_a_model_is_converted_once(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, told = convert(folder)
    assert told == ["engine: converting m for OpenVINO, once (f32 weights)"]
    monkeypatch.setattr(export, "convert", lambda *_, **__: pytest.fail("converted again"))
    again, told = convert(folder)
    assert told == []
    assert (first.folder, first.shape) == (again.folder, again.shape)
    assert [path.name for path in root.iterdir()] == [again.folder.name if again.folder else ""]
    assert works(again)


def test_what_a_killed_conversion_left_is_removed(folder: Path, root: Path) -> None:
    killed_draft(root)
    made, _ = convert(folder)
    assert list(root.iterdir()) == [made.folder]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_anew(folder: Path, damage: str) -> None:
    name, breaks, message = DAMAGES[damage]
    entry = convert(folder)[0].folder
    assert entry is not None
    breaks(entry / name)
    repaired, told = convert(folder)
    assert len(told) == 1
    assert re.search(message, told[0])
    assert told[0].endswith("converting m again")
    assert works(repaired)
    assert convert(folder)[1] == []


def test_other_versions_are_replaced(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(folder)
    monkeypatch.setattr(cache, "EXPORT_VERSION", 99)
    _, told = convert(folder)
    assert "was converted by other versions (export 99, OpenVINO" in told[0]
    assert len(list(root.iterdir())) == 1


def test_changed_weights_are_another_entry(tmp_path: Path, root: Path) -> None:
    model = save_whisper(tmp_path / "model", seed=3, layers=1)
    before = convert(model)[0].folder
    save_whisper(model, seed=4, layers=1)
    after = convert(model)[0].folder
    assert before != after
    assert len(list(root.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_a_notice(folder: Path, root: Path) -> None:
    root.parent.mkdir(parents=True)
    root.write_text("a file where the folder should be")
    converted, told = convert(folder)
    assert converted.folder is None
    assert "cannot be kept in" in told[-1]
    assert told[-1].endswith("used only this time")
    assert works(converted)


def test_a_damaged_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    model = save_whisper(tmp_path / "model", seed=3, layers=1)
    (model / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"model m in .* cannot be used: model\.safetensors is damaged"):
        convert(model)


def convert_in(cache: str, folder: Path) -> None:
    os.environ["LINNET_CACHE"] = cache
    assert convert(folder)[0].folder


def test_two_processes_may_convert_at_once(folder: Path, root: Path) -> None:
    running = [CONTEXT.Process(target=convert_in, args=(str(root.parent), folder)) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    assert len(list(root.iterdir())) == 1
    assert convert(folder)[1] == []


def test_what_was_compiled_is_found_by_the_next_one(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def ready(threads: int | None = 1) -> list[np.ndarray]:
        source = ModelSource(folder, "m", lambda: load_module(folder, name="m", dtype=torch.float32))
        compiled = load_compiled(source, Precision("f32", "f32"), told.append, threads=threads)
        return list(OpenVinoEngine(compiled, label="f32").encode(random_features(1)).cross)

    first = ready()
    assert told == ["engine: converting m for OpenVINO, once (f32 weights)"]
    (kept,) = root.glob("*/compiled-*")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "load_converted", lambda *_: pytest.fail("compiled again"))
        assert all(map(np.array_equal, ready(), first))
        with pytest.raises(pytest.fail.Exception, match="compiled again"):
            ready(threads=2)  # threads are part of what is compiled
    (blob,) = sorted(kept.glob("*.blob"))[:1]
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert all(map(np.array_equal, ready(), first))  # what is damaged is rebuilt, in silence: it costs time only
    assert len(told) == 1
    assert [path.name for path in root.glob("*/compiled-*")] == [kept.name]
    ready(threads=2)
    assert [path.name for path in root.glob("*/compiled-*")] == [kept.name.removesuffix("1") + "2"]


@pytest.mark.usefixtures("kept")
def test_another_kind_of_cpu_compiles_for_itself(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ModelSource(folder, "m", lambda: load_module(folder, name="m", dtype=torch.float32))
    load_compiled(source, Precision("f32", "f32"), lambda _: None)
    (before,) = root.glob("*/compiled-*")
    monkeypatch.setattr(runtime, "cpu_flags", lambda: ["another"])
    load_compiled(source, Precision("f32", "f32"), lambda _: None)
    (after,) = root.glob("*/compiled-*")
    assert before.name != after.name


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("where", ["for the manifest", "for one of the models"])
def test_without_room_for_what_was_compiled_the_model_runs(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def partly(model: Path, compute: str, threads: int | None, kept: Path) -> Any:
        return compile_model(model, compute, threads, kept if model.stem == "encoder" else None)

    source = ModelSource(folder, "m", lambda: load_module(folder, name="m", dtype=torch.float32))
    load_converted(source, Precision("f32", "f32"), lambda _: None)
    if where == "for the manifest":
        monkeypatch.setattr(cache, "write_manifest", full)
    else:
        monkeypatch.setattr(cache, "compile_model", partly)
    compiled = load_compiled(source, Precision("f32", "f32"), pytest.fail)
    assert np.isfinite(OpenVinoEngine(compiled, label="f32").encode(random_features(1)).cross[0]).all()
    assert not [path for path in root.glob("*/*") if path.is_dir()]
