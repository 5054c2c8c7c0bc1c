"""Weight files are chosen, found, checked and fingerprinted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linnet.errors import ModelError
from linnet.models.checkpoint import choose_weights, fingerprint, is_complete, verify_weights, weight_files
from linnet.models.hub import needed_files
from tests.support.hub_cache import model_files, write_files


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "pytorch_model.bin", "model.fp32-00001-of-00002.safetensors"], ("model.safetensors",)),
        (
            ["model.safetensors", "model.safetensors.index.json", "model-00001-of-00001.safetensors"],
            ("model.safetensors",),
        ),
        (
            ["model.safetensors.index.json", "model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"],
            ("model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ),
        (["pytorch_model.bin", "flax_model.msgpack"], ("pytorch_model.bin",)),
        (
            ["pytorch_model.bin.index.json", "pytorch_model-1.bin"],
            ("pytorch_model.bin.index.json", "pytorch_model-1.bin"),
        ),
        (["model.bin", "tf_model.h5"], ()),
    ],
)
def test_weights_that_transformers_loads(names: list[str], chosen: tuple[str, ...]) -> None:
    assert choose_weights(names) == chosen


def test_only_what_is_needed_is_fetched() -> None:
    names = [
        *(
            "config.json",
            "tokenizer.json",
            "vocab.txt",
            "spiece.model",
            "chat_template.jinja",
            "README.md",
            ".gitattributes",
        ),
        *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "onnx/config.json", "demo.wav"),
    ]
    expected = ["config.json", "tokenizer.json", "vocab.txt", "spiece.model", "chat_template.jinja", "README.md"]
    assert needed_files(names) == [*expected, "model.safetensors"]


def test_shards_are_found_by_their_index_and_all_are_needed(tmp_path: Path) -> None:
    files = model_files()
    weights = files.pop("model.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    files |= {"model.safetensors.index.json": json.dumps(index).encode(), "model-1.safetensors": weights}
    write_files(tmp_path, files)
    assert weight_files(tmp_path) == ()
    assert not is_complete(tmp_path)
    write_files(tmp_path, {"model-2.safetensors": weights})
    assert [file.name for file in weight_files(tmp_path)] == ["model-1.safetensors", "model-2.safetensors"]
    assert is_complete(tmp_path)


def test_the_fingerprint_of_an_adapter_follows_its_weights(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"one")
    first = fingerprint(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"two")
    assert fingerprint(tmp_path) != first


def test_the_fingerprint_follows_settings_and_weights_only(tmp_path: Path) -> None:
    write_files(tmp_path, model_files())
    first = fingerprint(tmp_path)
    write_files(tmp_path, {"README.md": b"new", "notes.txt": b"new"})
    assert fingerprint(tmp_path) == first
    write_files(tmp_path, {"generation_config.json": b"{}"})
    second = fingerprint(tmp_path)
    write_files(tmp_path, {"model.safetensors": model_files(seed=1)["model.safetensors"]})
    third = fingerprint(tmp_path)
    assert len({first, second, third}) == 3


def test_large_weights_are_sampled_over_their_whole_length(tmp_path: Path) -> None:
    write_files(tmp_path, {"config.json": b"{}"})
    size = 40 * 2**20
    seen = set()
    for place in (None, 0, size // 2 - 70_000, size - 1):  # the middle one lies in a sample, as any spread change would
        with (tmp_path / "model.safetensors").open("wb") as file:
            file.truncate(size)
            if place is not None:
                file.seek(place)
                file.write(b"x" * min(2 * 700_000, size - place))
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged"),
        (b"not a tensor in sight", "is damaged"),
        (model_files()["model.safetensors"][:-100], "is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer, not the weights"),
    ],
)
def test_damaged_weights_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    write_files(tmp_path, {"model.safetensors": content})
    with pytest.raises(ModelError, match=said) as caught:
        verify_weights(tmp_path, "WAY OUT")
    assert str(tmp_path / "model.safetensors") in str(caught.value)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model\.safetensors.*WAY OUT"):
        verify_weights(tmp_path, "WAY OUT")
