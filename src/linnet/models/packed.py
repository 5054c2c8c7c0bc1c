"""Weights in few bits in one file, for a model that ships inside the package: whole numbers and two scales.

A matrix [O, D] is held as int8 codes q and scales for its rows and columns: w_ij = q_ij * rows_i * columns_j. A step
that is the same for all weights of a row costs the fewest bits for its error where the codes are then coded by how
often each occurs, so they are deflated, Huffman codes only. Rows and columns are sorted by their scales first and the
codes laid out column by column, so that neighbors have the same spread and share a table.

The file is one of safetensors: `NAME:codes` (uint8, deflated), `NAME:rows` and `NAME:columns` (float16) of a matrix,
any other tensor under its own name, a small file as `file:NAME` (uint8, xz). Its metadata hold, as JSON, the shapes.
"""

# O outputs (rows), D inputs (columns); weights of more than two dimensions are seen as [O, the rest]

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
FORMAT = 1  # of the file: raise it when it is laid out in another way
LARGEST_FILE = 2**26  # bytes of a small file, unpacked: what a damaged or hostile one may take of the memory
LARGEST_MATRIX = 2**31  # weights
_KEY = "linnet"


@dataclass(frozen=True)
class Codes:
    """A matrix in few bits: `values` [O, D], `rows` [O] and `columns` [D], and the shape that the weights have."""

    values: NDArray[np.int8]
    rows: NDArray[np.float16]
    columns: NDArray[np.float16]
    shape: tuple[int, ...]

    def weights(self) -> NDArray[np.float16]:
        """The weights, in their own shape."""
        scaled = self.values * self.rows.astype(np.float32)[:, None] * self.columns.astype(np.float32)
        return scaled.astype(np.float16).reshape(self.shape)


@dataclass(frozen=True)
class Packed:
    """What a packed file holds; `sinusoids` names the position tables [positions, width] that are computed."""

    codes: Mapping[str, Codes]
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sinusoids: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def weights(self) -> dict[str, NDArray[Any]]:
        """All weights by their names: those in few bits and the computed ones as float16, the others as they are."""
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
    path.chmod(0o644)  # safetensors keeps it to oneself, and it is made to be given on


def read_packed(path: Path) -> Packed:
    """Read a packed file. Raises `ModelError` for one that is damaged, or was written by a later Linnet."""
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
    """Whisper's table of encoder frames [positions, width]: sines, then cosines, of falling frequencies.

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
        raise ValueError(f"{len(plain)} codes where {size} are due")
    values = np.empty((len(rows), len(columns)), np.int8)
    values[np.ix_(*_orders(rows, columns))] = np.frombuffer(plain, np.int8).reshape(len(columns), len(rows)).T
    return values


def _orders(rows: NDArray[np.float16], columns: NDArray[np.float16]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.argsort(rows, kind="stable"), np.argsort(columns, kind="stable")


def _expand(data: bytes) -> bytes:
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    plain = reader.decompress(data, LARGEST_FILE)
    if not reader.eof:
        raise ValueError("a file in it is cut off, or larger than any is")
    return plain
