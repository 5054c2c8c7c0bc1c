"""Read a binary file with every length checked against the rest of the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from linnet.errors import ModelError


class BinaryReader:
    """A little-endian file read from its start; reading past the end raises `ModelError` that names the file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self._file = file

    @property
    def position(self) -> int:
        """Bytes read or skipped so far."""
        return self._file.tell()

    @property
    def left(self) -> int:
        """Bytes left."""
        return self.size - self.position

    def read(self, count: int, what: str) -> bytes:
        """Read the next bytes, named `what` in errors."""
        self._require(count, what)
        return self._file.read(count)

    def skip(self, count: int, what: str) -> int:
        """Skip bytes that are read later; returns their start."""
        self._require(count, what)
        begin = self.position
        self._file.seek(count, 1)
        return begin

    def u8(self, what: str) -> int:
        """An unsigned byte."""
        return self.read(1, what)[0]

    def u16(self, what: str) -> int:
        """An unsigned number of two bytes."""
        return int(struct.unpack("<H", self.read(2, what))[0])

    def u32(self, what: str) -> int:
        """An unsigned number of four bytes."""
        return int(struct.unpack("<I", self.read(4, what))[0])

    def i32(self, what: str) -> int:
        """A signed number of four bytes."""
        return int(struct.unpack("<i", self.read(4, what))[0])

    def text(self, count: int, what: str) -> str:
        """UTF-8 bytes as text."""
        try:
            return self.read(count, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"{what} at byte {self.position - count} is not text") from error

    def damaged(self, how: str) -> ModelError:
        """The error for a file that violates its format."""
        return ModelError(f"{self.path} is damaged: {how}; copy or download it again")

    def _require(self, count: int, what: str) -> None:
        if count < 0 or count > self.left:
            raise self.damaged(f"{what} at byte {self.position} needs {count} bytes, but {max(0, self.left)} are left")


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryReader]:
    """A reader of this file. Raises `ModelError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            yield BinaryReader(path, file, path.stat().st_size)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error


def read_slice(path: Path, begin: int, count: int) -> NDArray[np.uint8]:
    """Read `count` bytes of a file from byte `begin`. Raises `ModelError` if they are missing or cannot be read."""
    try:
        found = np.fromfile(path, np.uint8, count, offset=begin)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if len(found) != count:
        raise ModelError(f"{path} became shorter while it was read: import it again")
    return found
