"""Model folders that are broken, or made to do harm: each loads or is refused with an error of ours, and nothing else.

The cases are made by rule and every so many are tried; LINNET_TEST_EVERY_FOLDER=1 tries them all, some 4,000.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import scan_cache_dir

import linnet
from linnet.errors import LinnetError, ModelError
from linnet.models import catalog
from linnet.models.json_files import is_plain_name, read_json
from tests.support.evil_pickle import Evil
from tests.support.hub_cache import add_to_cache
from tests.support.tiny_speech import save_parakeet, save_wav2vec2
from tests.support.tiny_whispers import edit_json, save_whisper

DEEP = "[" * 900 + "]" * 900
VALUES = {
    **{name: name for name in ("null", "true", "0", "1", "-5", "1.5", "NaN", "Infinity", "1e400", "[]", "{}")},
    "text": '"x"',
    "no text": '""',
    "path": '"../../../etc/passwd"',
    "device": '"/dev/zero"',
    "zero byte": '"\\u0000"',
    "surrogate": '"\\ud800"',
    "texts": '["a"]',
    "object": '{"a": {"b": 1}}',
    "large": "2000000000",
    "huge": "9" * 30,
    "digits": "9" * 5000,
    "deep": DEEP,
    "very deep": "[" * 50_000 + "]" * 50_000,
}
FILES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "no JSON": b"hello",
    "list": b"[]",
    "null": b"null",
    "number": b"5",
    "no fields": b"{}",
    "mark": b"\xef\xbb\xbf{}",
    "latin": b'{"a": "\xff"}',
    "UTF-16": "{}".encode("utf-16"),
    "zeros": bytes(100),
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}
KINDS = ("pipe", "device", "folder", "loop", "dangling")
FURTHER = {
    "config.json": ("linnet", "transformers_weights", "auto_map", "quantization_config", "attn_implementation"),
    "generation_config.json": ("alignment_heads", "alignment_lag"),
    "preprocessor_config.json": ("feature_extractor",),
    "tokenizer_config.json": ("added_tokens_decoder", "fast_tokenizer_files", "vocab_file", "auto_map"),
}
ABSENT = ("adapter_config.json", "alignment_heads.json", "added_tokens.json", "special_tokens_map.json")

Case = tuple[str, Callable[[Path], object]]


def set_field(name: str, keys: tuple[str, ...], text: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        place = data
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = "@here@"
        (folder / name).write_text(json.dumps(data).replace('"@here@"', text))

    return change


def set_file(name: str, content: bytes | None) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)

    return change


def set_kind(name: str, kind: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to({"device": "/dev/zero", "loop": name, "dangling": "gone"}[kind])

    return change


def json_cases(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        keys = [(key,) for key in [*list(data)[:80], *FURTHER.get(path.name, ())]]
        inner = {key: value for key, value in data.items() if isinstance(value, dict) and len(value) < 60}
        keys += [(key, second) for key, value in inner.items() for second in value]
        for chosen in keys:
            for what, text in VALUES.items():
                yield f"{path.name} {'/'.join(chosen)}: {what}", set_field(path.name, chosen, text)
    for name in [path.name for path in sorted(folder.iterdir())] + list(ABSENT):
        for what, content in FILES.items():
            yield f"{name}: {what}", set_file(name, content)
        for kind in KINDS:
            yield f"{name}: {kind}", set_kind(name, kind)


def weight_cases(folder: Path) -> Iterator[Case]:
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    for cut in (4, 8, 50, 8 + length, 108 + length, len(raw) - 1):
        yield f"weights cut at {cut}", set_file("model.safetensors", raw[:cut])
    for told in (0, 1, 2**31, 2**63 - 1, 2**64 - 1, len(raw), 10**8 + 1):
        yield f"header of {told}", set_file("model.safetensors", told.to_bytes(8, "little") + raw[8:])
    header = json.loads(raw[8 : 8 + length])
    name = next(key for key in header if key.endswith("conv1.weight") or "lm_head.weight" in key)
    shapes: list[Any] = [[2**40], [0], [-1], [], [1, 1], ["a"], None, [2**62, 4]]
    changes = [("shape", shape) for shape in shapes] + [("dtype", t) for t in ("F64", "I8", "XX", None, "BOOL")]
    for field, value in changes:
        text = json.dumps({**header, name: {**header[name], field: value}}).encode()
        content = len(text).to_bytes(8, "little") + text + raw[8 + length :]
        yield f"{name} {field} {value}", set_file("model.safetensors", content)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ctc") / "model"
    save_wav2vec2(folder, norm="layer")
    return folder


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise AssertionError("reading the folder never ended")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(1_000 if os.environ.get("LINNET_TEST_EVERY_FOLDER") else 60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def load(folder: Path) -> linnet.Recognizer:
    return linnet.load(str(folder), device="cpu", engine="torch", offline=True)


def try_all(good: Path, tmp_path: Path, cases: list[Case], step: int) -> list[str]:
    """What was refused; every other case must have loaded. The list of models and what it says of one hold as well."""
    refused = []
    for name, change in cases[:: 1 if os.environ.get("LINNET_TEST_EVERY_FOLDER") else step]:
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        folder = Path(shutil.copytree(good, tmp_path / "model"))
        change(folder)
        for ask in (load, lambda folder: catalog.info(str(folder))):
            try:
                ask(folder)
            except LinnetError as error:
                refused.append(f"{name}: {error}")
            except Exception as error:
                raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
        assert catalog.kind_of(folder) in ("whisper", "ctc", "seq2seq", "other", "incomplete", "damaged"), name
    return refused


def test_any_json_loads_or_is_refused(whisper: Path, tmp_path: Path) -> None:
    refused = try_all(whisper, tmp_path, list(json_cases(whisper)), step=53)
    assert len(refused) > 20
    assert not [text for text in refused if str(tmp_path / "model") not in text]


def test_any_json_of_other_families_loads_or_is_refused(ctc: Path, tmp_path: Path) -> None:
    assert try_all(ctc, tmp_path, list(json_cases(ctc)), step=83)


def test_any_weights_load_or_are_refused(whisper: Path, ctc: Path, tmp_path: Path) -> None:
    for good in (whisper, ctc):
        cases = list(weight_cases(good))
        assert len(try_all(good, tmp_path, cases, step=3)) >= len(cases) // 3


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "too deep": (
        set_field("generation_config.json", ("lang_to_id",), DEEP),
        r"generation_config\.json is nested more than 64",
    ),
    "far too deep": (
        set_field("config.json", ("d_model",), "[" * 50_000 + "]" * 50_000),
        r"config\.json is nested more than",
    ),
    "long number": (
        set_field("config.json", ("d_model",), "9" * 5000),
        r"config\.json is not valid .*number of thousands",
    ),
    "no UTF-8": (set_file("config.json", b'{"a": "\xff"}'), r"config\.json is not valid JSON \(not UTF-8 at byte 7\)"),
    "too many layers": (
        set_field("config.json", ("encoder_layers",), "1000000"),
        r"config\.json: encoder_layers must be a whole number from -1 to 1,000, but is 1000000: fetch or save",
    ),
    "languages": (
        set_field("generation_config.json", ("lang_to_id", "<|de|>"), "null"),
        r"generation_config\.json: lang_to_id must be an object that maps names to token ids, but is \{",
    ),
    "window": (
        set_field("preprocessor_config.json", ("chunk_length",), '"x"'),
        r'preprocessor_config\.json: chunk_length must be a whole number from 1 to 3,600, but is "x"',
    ),
    "calibration": (
        set_file("alignment_heads.json", b'{"alignment_heads": [[0, "x"]]}'),
        r"alignment_heads\.json holds no alignment heads: remove it",
    ),
    "other weights": (
        set_field("config.json", ("transformers_weights",), '"../x.safetensors"'),
        r"config\.json: transformers_weights must be the name of a file in this folder",
    ),
    "pipe": (set_kind("model.safetensors", "pipe"), r"model\.safetensors is a pipe or a device"),
    "device": (set_kind("config.json", "device"), r"config\.json is a pipe or a device"),
    "folder": (
        set_kind("tokenizer.json", "folder"),
        r"tokenizer\.json is a folder, but a model's files must be regular files",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_file_and_the_field_are_named(whisper: Path, tmp_path: Path, fault: str) -> None:
    folder = Path(shutil.copytree(whisper, tmp_path / "model"))
    change, said = FAULTS[fault]
    change(folder)
    with pytest.raises(ModelError, match=said) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert catalog.kind_of(folder) in ("damaged", "whisper")


def test_a_processor_that_cannot_work_is_named(tmp_path: Path) -> None:
    save_parakeet(tmp_path / "model")
    set_field("processor_config.json", ("feature_extractor", "preemphasis"), "9" * 30)(tmp_path / "model")
    with pytest.raises(ModelError, match=r"ParakeetProcessor: .*too big"):
        load(tmp_path / "model")


@pytest.mark.parametrize("family", ["whisper", "parakeet"])
def test_a_tokenizer_that_ends_in_a_panic_of_rust_is_an_error(whisper: Path, tmp_path: Path, family: str) -> None:
    folder = tmp_path / "model"
    if family == "parakeet":
        save_parakeet(folder)
        shutil.copy(whisper / "tokenizer.json", folder)
    else:
        shutil.copytree(whisper, folder)
    set_field("tokenizer.json", ("model", "continuing_subword_prefix"), '"../../../etc/passwd"')(folder)
    with pytest.raises(ModelError, match="out of range for slice"):
        load(folder)


def test_a_file_larger_than_any_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10 * 2**30)  # a hole: 10 GB that take no disk
    with pytest.raises(ModelError, match=r"config\.json is larger than 32 MiB"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    "place", ["/dev/zero", "../secret.safetensors", "sub/part.safetensors", "", "..", "a\0b", 5, None]
)
def test_shards_elsewhere_are_never_opened(tmp_path: Path, place: Any) -> None:
    assert not is_plain_name(place)
    folder = save_whisper(tmp_path / "model")
    index = {"weight_map": {"model.encoder.conv1.bias": place}}
    (folder / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"index\.json: weight_map must be .* names of files in this folder"):
        load(folder)


def test_links_to_regular_files_are_followed_as_the_hubs_cache_has_them(
    whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    files = {path.name: path.read_bytes() for path in whisper.iterdir()}
    snapshot = add_to_cache(tmp_path, "some/model", files)
    assert (snapshot / "model.safetensors").is_symlink()
    assert load(snapshot).revision == load(whisper).revision


def test_a_damaged_model_of_the_cache_is_listed_and_can_be_removed(
    whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    files = {path.name: path.read_bytes() for path in whisper.iterdir()} | {"generation_config.json": b"[]"}
    add_to_cache(tmp_path, "some/model", files)
    monkeypatch.setattr("huggingface_hub.scan_cache_dir", partial(scan_cache_dir, tmp_path))
    assert [entry.kind for entry in catalog.list_models() if entry.name == "some/model"] == ["damaged"]
    with pytest.raises(ModelError, match=r"generation_config\.json must hold a JSON object, but holds list"):
        catalog.info("some/model")
    assert catalog.folders("some/model")
    assert catalog.remove("some/model") > 0


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("family", ["whisper", "ctc"])
def test_a_pickle_that_may_hold_code_is_refused_as_one(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, zipped: bool
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(family), tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    evil = {"model.encoder.conv1.weight": Evil(tmp_path / "it-ran")}
    torch.save(evil, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin was refused without running it.*may hold code") as caught:
        load(folder)
    assert "mkdir" in str(caught.value)
    assert "model.safetensors" in str(caught.value)
    assert not (tmp_path / "it-ran").exists()


def test_weights_of_a_plain_pickle_load(whisper: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(whisper, tmp_path / "model"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert load(folder).languages
    edit_json(folder / "config.json", architectures=...)
    assert load(folder).languages


def test_code_of_a_folder_is_not_run_and_nobody_is_asked(
    ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt="": pytest.fail(f"asked: {prompt}"))
    folder = Path(shutil.copytree(ctc, tmp_path / "model"))
    (folder / "mine.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'it-ran')!r})\n")
    edit_json(folder / "config.json", model_type="unheard_of", auto_map={"AutoConfig": "mine.Config"})
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)
    assert not (tmp_path / "it-ran").exists()
