"""Where converted copies of models lie on this disk, what they take, and their end. Loads no OpenVINO.

A copy is a folder `<root>/openvino/<key of the model>-<precision>-<versions>`, which `cache` writes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linnet.errors import ModelError
from linnet.models.cache import cache_folder
from linnet.models.catalog import folder_size
from linnet.models.checkpoint import fingerprint, weight_files

_KEY, _VERSIONS = 16, 8  # hexadecimal digits


@dataclass(frozen=True)
class ConvertedCopy:
    """A converted copy of a model: its precision (`int8-bf16`) and bytes."""

    folder: Path
    precision: str
    size: int


def copies_root() -> Path:
    """The folder of all copies."""
    return cache_folder() / "openvino"


def model_key(folder: Path) -> str:
    """16 hexadecimal digits that change when the files of a model do, be it only in their time of change."""
    digest = hashlib.sha256(fingerprint(folder).encode())
    for path in weight_files(folder):
        digest.update(f"\0{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:_KEY]


def find_copies(folder: Path) -> list[ConvertedCopy]:
    """All copies of the model in this folder, of whatever precision and versions."""
    try:
        key = model_key(folder)
    except ModelError:  # its files are damaged, so nothing was made of it as it is now
        return []
    found = sorted(copies_root().glob(f"{key}-*"))
    return [ConvertedCopy(path, path.name[_KEY + 1 : -_VERSIONS - 1], folder_size(path)) for path in found]


def remove_copies(copies: Iterable[ConvertedCopy]) -> int:
    """Remove these; returns the bytes that this freed. Raises `ModelError` for one that cannot be removed."""
    freed = 0
    for copy in copies:
        try:
            shutil.rmtree(copy.folder)
        except OSError as error:
            raise ModelError(f"cannot remove {error.filename or copy.folder}: {error.strerror}") from error
        freed += copy.size
    return freed
