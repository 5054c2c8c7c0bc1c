"""Folders in Linnet's cache that are derived from a source once, sealed with checksums of their files.

An entry appears by one rename and its manifest is written last, so two processes may create it at once: one wins, the
other uses its result.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnet.errors import ModelError, OutputError
from linnet.files import place_folder
from linnet.models.checkpoint import update_digest
from linnet.models.json_files import read_json


def seal(folder: Path, manifest: str, facts: Mapping[str, Any]) -> None:
    """Write the manifest with these facts and the checksums of all files, to detect damage. Raises `OutputError`."""
    files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    try:
        (folder / manifest).write_text(json.dumps({**facts, "files": files}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the model: {error.strerror or error}") from error


def is_whole(entry: Path, manifest: str) -> bool:
    """Whether an entry exists and all its files match the manifest (large ones by samples)."""
    try:
        files = read_json(entry / manifest)["files"]
        return all(_digest(entry / name) == digest for name, digest in files.items())
    except (OSError, ModelError, KeyError, AttributeError):
        return False


def place(made: Path, entry: Path, manifest: str, *, replace: bool = False) -> None:
    """Rename a draft to its place; if another process was faster, its entry is kept.

    Entries of the same source by other versions of the code are removed: the name of an entry is KEY-VERSION. Raises
    `OutputError`.
    """
    try:
        place_folder(made, entry, "replace" if replace or not is_whole(entry, manifest) else "keep")
    except OSError as error:
        raise OutputError(f"{entry}: cannot write the model: {error.strerror or error}") from error
    for old in entry.parent.glob(f"{entry.name.split('-')[0]}-*"):
        if old != entry:
            shutil.rmtree(old, ignore_errors=True)


def _digest(path: Path) -> str:
    digest = hashlib.sha256(f"{path.stat().st_size}".encode())
    update_digest(digest, path)
    return digest.hexdigest()[:16]
