"""Packed weights come back as they were put in, in any shape; damage is said."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from linnet.errors import ModelError
from linnet.models.packed import Codes, Packed, read_packed, sinusoids, write_packed


def codes(shape: tuple[int, ...], *, seed: int = 0) -> Codes:
    """Codes of a matrix whose rows and columns have unlike spreads, as real ones have."""
    random = np.random.default_rng(seed)
    size = (shape[0], int(np.prod(shape[1:])))
    values = np.clip(np.round(random.normal(size=size) * random.uniform(0.2, 20, size[1])), -127, 127).astype(np.int8)
    scales = (random.uniform(0.01, 2, length).astype(np.float16) for length in size)
    return Codes(values, *scales, shape)


def packed() -> Packed:
    order = np.arange(5, dtype=np.int64)[::-1].copy()
    return Packed(
        {"fc.weight": codes((48, 96)), "conv.weight": codes((16, 8, 3), seed=1), "pair.first.weight": codes((3, 40))},
        {"fc.bias": np.float16([0.5, -1.0]), "rest.order": order},
        {"positions.weight": (10, 6)},
        {"tokenizer.json": b'{"version": "1.0"}' * 1000},
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_packed(tmp_path / "p", packed())
    found, put = read_packed(tmp_path / "p"), packed()
    for name, one in put.codes.items():
        assert np.array_equal(found.codes[name].values, one.values)
        assert np.array_equal(found.codes[name].rows, one.rows)
        assert np.array_equal(found.codes[name].columns, one.columns)
        assert found.codes[name].shape == one.shape
    assert {name: one.tolist() for name, one in found.tensors.items()} == {
        "fc.bias": [0.5, -1.0],
        "rest.order": [4, 3, 2, 1, 0],
    }
    assert found.files == put.files


def test_the_weights_are_codes_times_scales() -> None:
    one = codes((4, 5, 3))
    twin = np.empty((4, 15))
    for i in range(4):
        for j in range(15):
            twin[i, j] = float(one.values[i, j]) * float(one.rows[i]) * float(one.columns[j])
    np.testing.assert_allclose(one.weights().astype(np.float64), twin.reshape(4, 5, 3), rtol=2**-10)


def test_the_codes_take_about_their_entropy(tmp_path: Path) -> None:
    one = Codes(
        np.random.default_rng(0).normal(scale=4, size=(512, 256)).round().astype(np.int8),
        np.ones(512, np.float16),
        np.ones(256, np.float16),
        (512, 256),
    )
    write_packed(tmp_path / "p", Packed({"w": one}))
    shares = np.bincount(one.values.ravel().astype(int) + 128) / one.values.size
    entropy = -sum(share * np.log2(share) for share in shares if share) * one.values.size / 8
    assert load_file(tmp_path / "p")["w:codes"].nbytes < 1.02 * entropy


def test_computed_positions_are_those_of_transformers() -> None:
    from transformers.models.whisper.modeling_whisper import sinusoids as theirs

    np.testing.assert_allclose(sinusoids(1500, 384), theirs(1500, 384).numpy(), atol=2e-4)  # theirs in float32
    tables = packed().weights()["positions.weight"]
    assert torch.equal(torch.from_numpy(tables), theirs(10, 6).half())


@pytest.mark.parametrize("damage", ["cut", "codes", "shape", "missing", "file", "metadata"])
def test_damage_is_said(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, packed())
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    shapes = {name: one.shape for name, one in packed().codes.items()}
    said = {"linnet": json.dumps({"format": 1, "shapes": shapes, "sinusoids": {}})}
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "codes":
        tensors["fc.weight:codes"] = tensors["fc.weight:codes"][:-40]
    elif damage == "shape":
        tensors["fc.weight:rows"] = tensors["fc.weight:rows"][:-1]
    elif damage == "missing":
        del tensors["fc.weight:columns"]
    elif damage == "file":
        tensors["file:tokenizer.json"] = tensors["file:tokenizer.json"][:-9]
    else:
        said = {}
    if damage != "cut":
        save_file(tensors, path, metadata=said)
    with pytest.raises(ModelError, match=r"packed\.safetensors is damaged .*: install or copy it again"):
        read_packed(path)


def test_a_small_file_of_endless_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "packed.safetensors"
    bomb = lzma.compress(bytes(2**27))
    said = {"linnet": json.dumps({"format": 1, "shapes": {}, "sinusoids": {}})}
    save_file({"file:tokenizer.json": np.frombuffer(bomb, np.uint8)}, path, metadata=said)
    with pytest.raises(ModelError, match="or too large"):
        read_packed(path)


def test_a_later_format_is_told(tmp_path: Path) -> None:
    said = {"linnet": json.dumps({"format": 2, "shapes": {}, "sinusoids": {}})}
    save_file({"a": np.zeros(1)}, tmp_path / "p", metadata=said)
    with pytest.raises(ModelError, match="is packed in format 2, this Linnet reads 1: update Linnet"):
        read_packed(tmp_path / "p")
