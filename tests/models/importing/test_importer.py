"""Whisper of CTranslate2, openai-whisper and whisper.cpp becomes a Transformers folder, weight by weight."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSpeechSeq2Seq, AutoTokenizer, WhisperProcessor

from linnet.errors import LinnetError, ModelError, OutputError
from linnet.models.catalog import list_models, remove
from linnet.models.importing import cached, detect_format, import_model
from linnet.models.importing.blocks import BLOCK_FORMATS, dequantize
from linnet.models.resolve import SHORT_NAMES, hub_id, resolve
from tests.support.evil_pickle import Evil
from tests.support.killed_process import killed_draft
from tests.support.tiny_imports import (
    KINDS,
    LANGUAGES,
    quantize,
    text_pieces,
    whisper_folder,
    write_ctranslate2,
    write_ggml,
    write_pt,
)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    return {name: whisper_folder(root / name, dtype) for name, dtype in DTYPES.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "linnet-cache"))
    return tmp_path / "linnet-cache"


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and torch.equal(found[name], expected[name]) for name in expected
    )


def written(kind: str, original: Path, path: Path) -> Path:
    """A source of this format made of a Transformers folder."""
    if kind == "openai":
        return write_pt(path.with_suffix(".pt"), weights_of(original))
    if kind == "ggml":
        return write_ggml(path.with_suffix(".bin"), weights_of(original), text_pieces(tokenizer_of(original)))
    return write_ctranslate2(path, original)


def tokenizer_of(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("dtype", DTYPES)
def test_openai_keeps_every_bit(originals: dict[str, Path], tmp_path: Path, dtype: str) -> None:
    source = write_pt(tmp_path / "a.pt", weights_of(originals[dtype]))
    report = import_model(source, tmp_path / "out", tokenizer=originals[dtype])
    assert same(weights_of(tmp_path / "out"), weights_of(originals[dtype]))
    assert (report.format, report.dtype, report.description) == ("openai", dtype, dtype)


@pytest.mark.parametrize("quantization", DTYPES)
def test_ctranslate2_keeps_every_bit(originals: dict[str, Path], tmp_path: Path, quantization: str) -> None:
    source = write_ctranslate2(tmp_path / "ct2", originals[quantization], quantization)
    assert detect_format(source) == "ctranslate2"
    assert import_model(source, tmp_path / "out").dtype == quantization
    assert same(weights_of(tmp_path / "out"), weights_of(originals[quantization]))


@pytest.mark.parametrize("quantization", ["int8", "int8_float16", "int16"])
def test_ctranslate2_quantized_is_near_by_half_a_step(
    originals: dict[str, Path], tmp_path: Path, quantization: str
) -> None:
    source = write_ctranslate2(tmp_path / "ct2", originals["float32"], quantization)
    report = import_model(source, tmp_path / "out")
    assert (report.dtype, report.description) == ("float32", quantization.split("_", maxsplit=1)[0])
    found, expected = weights_of(tmp_path / "out"), weights_of(originals["float32"])
    for name in expected:
        exact, got = expected[name].double(), found[name].double()
        if exact.ndim == 1 or "embed_positions" in name:
            assert torch.equal(got, exact.half().double() if quantization == "int8_float16" else exact)
            continue
        if quantization == "int16":  # one scale for the variable that it was stacked in
            assert (got - exact).abs().max() <= 0.51 * 2.0 / 2**10 * exact.abs().max()
            continue
        rows = exact.reshape(len(exact), -1)
        scale = 127 / rows.abs().amax(1, keepdim=True)
        assert (
            torch.allclose(got.reshape(rows.shape), (rows * scale).round() / scale, rtol=1e-6, atol=0)
            or ((got.reshape(rows.shape) - rows).abs() <= 0.5001 / scale).all()
        )


@pytest.mark.parametrize(("kind", "dtype"), [("f32", "float32"), ("f16", "float16")])
def test_ggml_keeps_every_bit(originals: dict[str, Path], tmp_path: Path, kind: str, dtype: str) -> None:
    original = originals[dtype]
    source = write_ggml(tmp_path / "ggml.bin", weights_of(original), text_pieces(tokenizer_of(original)), kind=kind)
    assert detect_format(source) == "ggml"
    assert import_model(source, tmp_path / "out").dtype == dtype
    assert same(weights_of(tmp_path / "out"), weights_of(original))


def test_ggml_float32_beside_float16_that_does_not_fit_it(originals: dict[str, Path], tmp_path: Path) -> None:
    original = originals["float32"]
    source = write_ggml(tmp_path / "ggml.bin", weights_of(original), text_pieces(tokenizer_of(original)))
    assert import_model(source, tmp_path / "out").dtype == "float32"
    found, expected = weights_of(tmp_path / "out"), weights_of(original)
    for name, tensor in expected.items():
        matrix = tensor.ndim > 1 and "embed_positions" not in name
        assert torch.equal(found[name], tensor.half().float() if matrix else tensor)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("q")])
def test_ggml_blocks_equal_their_float64_twin(kind: str) -> None:
    values = np.random.default_rng(3).standard_normal((7, 64)).astype(np.float32)
    packed, meant = quantize(values, kind)
    found = dequantize(np.frombuffer(packed, np.uint8), BLOCK_FORMATS[KINDS[kind]])
    assert np.abs(found - meant.reshape(-1)).max() <= 2**-22 * np.abs(meant).max()  # float32 sums of at most two terms


def test_a_quantized_file_of_whisper_cpp(originals: dict[str, Path], tmp_path: Path) -> None:
    original, kind = originals["float32"], "q5_1"
    source = write_ggml(tmp_path / "q.bin", weights_of(original), text_pieces(tokenizer_of(original)), kind=kind)
    report = import_model(source, tmp_path / "out")
    assert (report.dtype, report.description.split(" and ")[-1]) == ("float32", kind)
    name = "model.decoder.layers.1.fc2.weight"
    twin = quantize(weights_of(original)[name].numpy(), kind)[1]
    assert np.abs(weights_of(tmp_path / "out")[name].numpy() - twin).max() <= 2**-22 * np.abs(twin).max()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("q")])
def test_ggml_blocks_equal_those_of_the_gguf_library(kind: str) -> None:
    quants = pytest.importorskip("gguf.quants", reason="the gguf library is not installed")
    constants = pytest.importorskip("gguf.constants")
    data = np.frombuffer(quantize(np.random.default_rng(4).standard_normal((9, 32)), kind)[0], np.uint8)
    form = BLOCK_FORMATS[KINDS[kind]]
    expected = quants.dequantize(data.reshape(9, -1), constants.GGMLQuantizationType[kind.upper()])
    assert np.array_equal(dequantize(data, form), expected.reshape(-1))


@pytest.mark.parametrize("kind", ["openai", "ggml", "ctranslate2"])
def test_transformers_loads_what_was_imported(originals: dict[str, Path], tmp_path: Path, kind: str) -> None:
    original = originals["float32"]
    source = written(kind, original, tmp_path / "source")
    import_model(source, tmp_path / "out", tokenizer=original if kind == "openai" else None)
    processor = WhisperProcessor.from_pretrained(tmp_path / "out")
    model = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "out")
    assert model.proj_out.weight.data_ptr() == model.model.decoder.embed_tokens.weight.data_ptr()
    expected, found = tokenizer_of(original), processor.tokenizer
    assert found.get_vocab() == expected.get_vocab()
    assert found.all_special_ids[-1] == found.convert_tokens_to_ids("<|notimestamps|>")  # times are taken to follow
    said = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    wanted = json.loads((original / "generation_config.json").read_text())
    ids = expected.get_vocab()
    assert said["lang_to_id"] == {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES}
    keys = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "no_timestamps_token_id", "prev_sot_token_id")
    assert {key: said[key] for key in (*keys, "task_to_id")} == {key: wanted[key] for key in (*keys, "task_to_id")}
    if kind == "ctranslate2":
        keys = ("suppress_tokens", "begin_suppress_tokens", "alignment_heads")
        assert {key: sorted(said[key]) for key in keys} == {key: sorted(wanted[key]) for key in keys}
    features = processor(np.zeros(16_000), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        model.generate(features, language="<|en|>", task="transcribe", max_new_tokens=4, return_timestamps=True)


def test_the_card_says_where_weights_came_from_and_names_no_path(originals: dict[str, Path], tmp_path: Path) -> None:
    source = write_pt(tmp_path / "a.pt", weights_of(originals["float16"]))
    card = {"license": "mit", "source": "a wheel"}
    import_model(source, tmp_path / "out", tokenizer=originals["float16"], card=card)
    text = (tmp_path / "out" / "README.md").read_text()
    import hashlib

    assert hashlib.sha256(source.read_bytes()).hexdigest() in text
    assert 'license: "mit"' in text
    assert "Source: a wheel." in text
    assert str(tmp_path) not in text
    with pytest.raises(OutputError, match="already exists"):
        import_model(source, tmp_path / "out")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, zipped: bool) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "it-ran"
    torch.save({"dims": Evil(marker), "model_state_dict": {}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="refused without running it") as caught:
        import_model(path, tmp_path / "out")
    assert "mkdir" in str(caught.value)
    assert "may hold code" in str(caught.value)
    for protocol in (2, 4, 5):  # torch knows 2 only, and warns of the others
        path.write_bytes(pickle.dumps(Evil(marker), protocol))
        with pytest.raises(ModelError, match=r"refused without running it.* may hold code"):
            import_model(path, tmp_path / "out")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra.weight": torch.zeros(2)}, "which no Whisper model has"),
        ({"encoder.conv1.bias": torch.zeros(3)}, "has the shape"),
        ({"encoder.conv1.bias": None}, "lacks model.encoder.conv1.bias"),
        ({"encoder.conv1.bias": torch.zeros(64, dtype=torch.int32)}, "not a tensor of float32"),
        ({"encoder.conv1.bias": torch.full((64,), torch.inf)}, "infinity"),
        ({"encoder.conv1.bias": torch.zeros(1).expand(64)}, "larger than its stored data"),
    ],
)
def test_a_checkpoint_with_other_tensors(
    originals: dict[str, Path], tmp_path: Path, change: dict[str, Tensor | None], said: str
) -> None:
    path = write_pt(tmp_path / "a.pt", weights_of(originals["float32"]))
    held = torch.load(path, weights_only=True)
    state = {**held["model_state_dict"], **change}
    torch.save({**held, "model_state_dict": {k: v for k, v in state.items() if v is not None}}, path)
    with pytest.raises(ModelError, match=said) as caught:
        import_model(path, tmp_path / "out", tokenizer=originals["float32"])
    assert "a.pt" in str(caught.value)


def test_no_tokenizer_says_what_to_install(
    originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "whisper", None)  # not installed
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "linnet"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    path = write_pt(tmp_path / "a.pt", weights_of(originals["float16"]))
    with pytest.raises(ModelError, match=r"openai-whisper.*--tokenizer FOLDER"):
        import_model(path, tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    from tests.support.tiny_whispers import small_tokenizer

    small_tokenizer(languages=("en",)).save_pretrained(other)
    with pytest.raises(ModelError, match="does not fit"):
        import_model(path, tmp_path / "out", tokenizer=other)


def mutations(data: bytes, *, seed: int) -> Iterator[bytes]:
    """Cut short, bits turned over in the head, counts made huge."""
    generator = np.random.default_rng(seed)
    for _ in range(25):
        yield data[: int(generator.integers(0, len(data)))]
    for _ in range(60):
        changed = bytearray(data)
        for place in generator.integers(0, 1500, 3):
            changed[place] ^= 1 << int(generator.integers(8))
        yield bytes(changed)
    for place in generator.integers(4, 1500, 25):
        yield data[:place] + b"\xff\xff\xff\x7f" + data[place + 4 :]
    yield data + b"more"


@pytest.mark.parametrize("kind", ["openai", "ggml", "ctranslate2"])
def test_damaged_files_end_in_errors_of_ours(originals: dict[str, Path], tmp_path: Path, kind: str) -> None:
    from linnet.models.importing.importer import read_source
    from linnet.models.importing.layout import check_weights

    source = written(kind, originals["float16"], tmp_path / "source")
    path = source / "model.bin" if kind == "ctranslate2" else source
    data, refused = path.read_bytes(), 0
    for changed in mutations(data, seed=len(kind)):
        path.write_bytes(changed)
        try:
            found = read_source(source)
            check_weights(path, found.dimensions, found.weights)
        except LinnetError as error:
            assert path.name in str(error) or source.name in str(error)  # noqa: PT017
            refused += 1
    assert refused > 40


def test_a_source_is_imported_once_and_again_when_it_is_damaged(
    originals: dict[str, Path], tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = written("ggml", originals["float16"], tmp_path / "ggml-tiny")
    first, second = resolve(str(source)), resolve(str(source))
    assert first == second
    assert (first.origin, first.path.parent) == ("imported", cache / "imported")
    assert len(caplog.records) == 1
    assert caplog.messages[0].endswith("from the format of whisper.cpp (ggml), once")
    with (first.path / "model.safetensors").open("r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.write(b"!")
    third = resolve(str(source))
    assert "is damaged: importing" in caplog.messages[-1]
    assert same(weights_of(third.path), weights_of(originals["float16"]))
    listed = [entry for entry in list_models() if entry.origin == "imported"]
    assert [(entry.name, entry.kind, entry.revision) for entry in listed] == [(str(source), "whisper", first.revision)]
    assert remove(str(source)) > 0
    assert source.exists()
    assert list(cache.glob("imported/*")) == []


def test_what_a_killed_import_left_is_removed(originals: dict[str, Path], tmp_path: Path, cache: Path) -> None:
    source = written("ggml", originals["float16"], tmp_path / "ggml-tiny")
    killed_draft(cache / "imported")
    killed_draft(tmp_path / "out")
    made = cached.imported_folder(source)
    assert list(cache.glob("imported/*")) == [made]
    import_model(source, tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "model"]


def test_two_may_import_at_once(originals: dict[str, Path], tmp_path: Path, cache: Path) -> None:
    source = written("ggml", originals["float16"], tmp_path / "ggml-tiny")
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(cached.imported_folder(source))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert list(cache.glob("imported/*")) == [found[0]]  # and no draft is left
    assert same(weights_of(found[0]), weights_of(originals["float16"]))


def test_other_folders_and_files_are_none_of_these(tmp_path: Path, originals: dict[str, Path]) -> None:
    (tmp_path / "a.pt").write_bytes(b"text")
    assert detect_format(tmp_path / "a.pt") is None
    assert detect_format(originals["float16"]) is None
    assert detect_format(tmp_path / "nothing") is None
    with pytest.raises(ModelError, match="does not exist"):
        import_model(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ModelError, match="not of openai-whisper"):
        resolve(str(tmp_path / "a.pt"))


@pytest.mark.parametrize(
    ("start", "said"), [((5, b"WhisperSpec\0"), "has version 5"), ((6, b"TransformerSpec\0"), "not a Whisper model")]
)
def test_other_models_of_ctranslate2(tmp_path: Path, start: tuple[int, bytes], said: str) -> None:
    import struct

    folder = tmp_path / "ct2"
    folder.mkdir()
    version, spec = start
    (folder / "model.bin").write_bytes(struct.pack("<IH", version, len(spec)) + spec + bytes(8))
    with pytest.raises(ModelError, match=said):
        import_model(folder, tmp_path / "out")


def test_short_names_mean_hub_ids() -> None:
    assert hub_id("large") == hub_id("large-v3") == "openai/whisper-large-v3"  # as openai-whisper has it
    assert hub_id("turbo") == hub_id("large-v3-turbo") == "openai/whisper-large-v3-turbo"
    assert (hub_id("large-v1"), hub_id("tiny.en")) == ("openai/whisper-large", "openai/whisper-tiny.en")
    assert hub_id("distil-large-v3") == "distil-whisper/distil-large-v3"
    assert len(set(SHORT_NAMES.values())) == len(SHORT_NAMES) - 2


def test_a_pipe_is_no_source(tmp_path: Path, caplog: pytest.LogCaptureFixture, cache: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"a\.pt is a pipe or a device"):
        cached.imported_folder(tmp_path / "a.pt")
    assert not caplog.records
    assert not list(cache.glob("imported/*"))


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "tokenizer.json"])
def test_a_folder_of_ctranslate2_with_any_json(originals: dict[str, Path], tmp_path: Path, name: str) -> None:
    from linnet.models.importing.importer import read_source

    source = written("ctranslate2", originals["float16"], tmp_path / "source")
    deep = "[" * 50_000 + "]" * 50_000
    for text in (
        "",
        "x",
        "[]",
        "{}",
        "null",
        '{"a": 1e400}',
        "9" * 5000,
        deep,
        f'{{"suppress_ids": {deep}}}',
        '"\\ud800"',
    ):
        (source / name).write_text(text)
        with suppress(LinnetError):
            read_source(source)
            import_model(source, tmp_path / f"out{len(text)}")
    (source / name).unlink()
    (source / name).mkdir()
    with suppress(LinnetError):
        import_model(source, tmp_path / "last")
