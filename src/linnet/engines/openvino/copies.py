"""Find, measure and remove the converted copies of models on this disk, without loading OpenVINO.

A copy is a folder `<root>/openvino/<key of the model>-<precision>-<versions>`, written by `cache`.
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
    """A converted copy of a model: its precision (`int8-bf16`) and size in bytes."""

    folder: Path
    precision: str
    size: int


def copies_root() -> Path:
    """The folder that holds all copies."""
    return cache_folder() / "openvino"


def model_key(folder: Path) -> str:
    """16 hexadecimal digits that change with the files of a model, including their modification times."""
    digest = hashlib.sha256(fingerprint(folder).encode())
    for path in weight_files(folder):
        digest.update(f"\0{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:_KEY]


def find_copies(folder: Path) -> list[ConvertedCopy]:
    """All copies of the model in this folder, of any precision and version."""
    try:
        key = model_key(folder)
    except ModelError:  # its files are damaged, so no copy was made of them
        return []
    found = sorted(copies_root().glob(f"{key}-*"))
    return [ConvertedCopy(path, path.name[_KEY + 1 : -_VERSIONS - 1], folder_size(path)) for path in found]


def remove_copies(copies: Iterable[ConvertedCopy]) -> int:
    """Remove copies; returns the number of bytes freed. Raises `ModelError` for a copy that cannot be removed."""
    freed = 0
    for copy in copies:
        try:
            shutil.rmtree(copy.folder)
        except OSError as error:
            raise ModelError(f"cannot remove {error.filename or copy.folder}: {error.strerror}") from error
        freed += copy.size
    return freed
