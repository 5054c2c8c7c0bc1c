"""Compressed weights in one file, for a model that ships inside the package: integer codes and two scales.

A matrix [O, D] is stored as int8 codes q with scales for rows and columns: w_ij = q_ij * rows_i * columns_j. With
entropy coding, a uniform step per row has the smallest error for its bits, so the codes are deflated with Huffman codes
only. Rows and columns are sorted by their scales and the codes stored column by column, so that neighbors have a
similar distribution and share a table.

The file is a safetensors file: `NAME:codes` (uint8, deflated), `NAME:rows` and `NAME:columns` (float16) of a matrix,
any other tensor under its own name, a small file as `file:NAME` (uint8, xz). Its metadata hold the shapes as JSON.
"""

# O outputs (rows), D inputs (columns); weights with more than two dimensions are treated as [O, the rest]

from __future__ import annotations

import json
import lzma
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.errors import ModelError

FILE = "packed.safetensors"
FORMAT = 1  # of the file: increase it when the layout changes
LARGEST_FILE = 2**26  # bytes of a small file, unpacked: limits the memory for a damaged or malicious one
LARGEST_MATRIX = 2**31  # weights
_KEY = "linnet"


@dataclass(frozen=True)
class Codes:
    """A compressed matrix: `values` [O, D], `rows` [O] and `columns` [D], and the shape of the weights."""

    values: NDArray[np.int8]
    rows: NDArray[np.float16]
    columns: NDArray[np.float16]
    shape: tuple[int, ...]

    def weights(self) -> NDArray[np.float16]:
        """The weights in their original shape."""
        scaled = self.values * self.rows.astype(np.float32)[:, None] * self.columns.astype(np.float32)
        return scaled.astype(np.float16).reshape(self.shape)


@dataclass(frozen=True)
class Packed:
    """The content of a packed file; `sinusoids` names the position tables [positions, width] that are computed."""

    codes: Mapping[str, Codes]
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sinusoids: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def weights(self) -> dict[str, NDArray[Any]]:
        """All weights by name: compressed and computed ones as float16, the others unchanged."""
        computed = {name: sinusoids(*shape).astype(np.float16) for name, shape in self.sinusoids.items()}
        return {**{name: codes.weights() for name, codes in self.codes.items()}, **self.tensors, **computed}


def write_packed(path: Path, packed: Packed) -> None:
    """Write a packed file."""
    from safetensors.numpy import save_file

    tensors: dict[str, NDArray[Any]] = dict(packed.tensors)
    for name, codes in packed.codes.items():
        tensors[f"{name}:codes"] = np.frombuffer(_deflate(codes), np.uint8)
        tensors[f"{name}:rows"], tensors[f"{name}:columns"] = codes.rows, codes.columns
    for name, data in packed.files.items():
        tensors[f"file:{name}"] = np.frombuffer(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), np.uint8)
    shapes = {name: codes.shape for name, codes in packed.codes.items()}
    said = {"format": FORMAT, "shapes": shapes, "sinusoids": dict(packed.sinusoids)}
    save_file(tensors, path, metadata={_KEY: json.dumps(said)})
    path.chmod(0o644)  # safetensors makes it private, but it is to be shared


def read_packed(path: Path) -> Packed:
    """Read a packed file. Raises `ModelError` if it is damaged or from a later version of Linnet."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            said = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if said["format"] != FORMAT:
            raise ModelError(f"{path} is packed in format {said['format']}, this Linnet reads {FORMAT}: update Linnet")
        return _unpack(said, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ModelError(f"{path} is damaged ({type(error).__name__}: {error}): install or copy it again") from error


def sinusoids(positions: int, width: int) -> NDArray[np.float64]:
    """Whisper's encoder position table [positions, width]: sines, then cosines, of decreasing frequencies.

    Source: `sinusoids` in openai/whisper, whisper/model.py.
    """
    rates = np.exp(-math.log(10_000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(positions)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _unpack(said: Mapping[str, Any], tensors: dict[str, NDArray[Any]]) -> Packed:
    codes = {}
    for name, shape in said["shapes"].items():
        data, rows, columns = (tensors.pop(f"{name}:{part}") for part in ("codes", "rows", "columns"))
        if math.prod(shape) != len(rows) * len(columns) or math.prod(shape) > LARGEST_MATRIX:
            raise ValueError(f"{name} of shape {shape} has {len(rows)} row and {len(columns)} column scales")
        codes[name] = Codes(_inflate(data.tobytes(), rows, columns), rows, columns, tuple(shape))
    names = [name for name in tensors if name.startswith("file:")]
    files = {name.removeprefix("file:"): _expand(tensors.pop(name).tobytes()) for name in names}
    tables = {name: (int(shape[0]), int(shape[1])) for name, shape in said["sinusoids"].items()}
    return Packed(codes, tensors, tables, files)


def _deflate(codes: Codes) -> bytes:
    rows, columns = _orders(codes.rows, codes.columns)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(codes.values[np.ix_(rows, columns)].T.tobytes()) + packer.flush()


def _inflate(data: bytes, rows: NDArray[np.float16], columns: NDArray[np.float16]) -> NDArray[np.int8]:
    size = len(rows) * len(columns)
    reader = zlib.decompressobj(-15)
    plain = reader.decompress(data, size + 1)
    if len(plain) != size:
        raise ValueError(f"{len(plain)} codes instead of {size}")
    values = np.empty((len(rows), len(columns)), np.int8)
    values[np.ix_(*_orders(rows, columns))] = np.frombuffer(plain, np.int8).reshape(len(columns), len(rows)).T
    return values


def _orders(rows: NDArray[np.float16], columns: NDArray[np.float16]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.argsort(rows, kind="stable"), np.argsort(columns, kind="stable")


def _expand(data: bytes) -> bytes:
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    plain = reader.decompress(data, LARGEST_FILE)
    if not reader.eof:
        raise ValueError("a file in it is truncated or too large")
    return plain
