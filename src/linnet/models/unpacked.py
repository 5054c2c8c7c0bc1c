"""Unpack model folders with packed weights to Linnet's cache, once per content."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from linnet.errors import ModelError, OutputError
from linnet.files import draft_folder, open_folder
from linnet.models import entries, packed
from linnet.models.cache import cache_folder
from linnet.models.checkpoint import SETTINGS, fingerprint, update_digest

UNPACK_VERSION = 1  # of this code: increase it when its folders change

_MANIFEST = "linnet_unpacked.json"


def is_packed(folder: Path) -> bool:
    """Whether the weights of a model folder are packed."""
    return (folder / packed.FILE).is_file()


def unpacked_folder(source: Path) -> Path:
    """The Transformers folder of a packed one, unpacked if necessary; any other folder unchanged.

    It is in the cache, with float16 weights. Raises `ModelError` for a damaged source, `OutputError` if the cache
    cannot be written.
    """
    if not is_packed(source):
        return source
    entry = _root() / f"{_key(source)}-{UNPACK_VERSION}"
    if entries.is_whole(entry, _MANIFEST):
        return entry
    try:
        open_folder(_root())
        with draft_folder(_root()) as draft:
            made = draft / "model"
            made.mkdir()
            _unpack(source, made)
            entries.seal(made, _MANIFEST, {"source": str(source.absolute())})
            entries.place(made, entry, _MANIFEST)
    except OSError as error:
        raise OutputError(
            f"the model in {source} cannot be unpacked in {_root()} ({error.strerror or error}): free space or "
            "allow access there, or set LINNET_CACHE to another folder"
        ) from error
    return entry


def _root() -> Path:
    return cache_folder() / "unpacked"


def _key(source: Path) -> str:
    digest = hashlib.sha256(fingerprint(source).encode())
    try:
        update_digest(digest, source / packed.FILE)
    except OSError as error:
        raise ModelError(f"cannot read {source / packed.FILE}: {error.strerror or error}") from error
    return digest.hexdigest()[:16]


def _unpack(source: Path, folder: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    found = packed.read_packed(source / packed.FILE)
    if strange := sorted(set(found.files) - set(SETTINGS)):
        raise ModelError(f"{source / packed.FILE} holds {strange[0]}, which is not a model file: copy it again")
    for name, data in found.files.items():
        (folder / name).write_bytes(data)
    for path in source.iterdir():
        if path.is_file() and path.name != packed.FILE:
            shutil.copyfile(path, folder / path.name)
    try:
        save_file(found.weights(), folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"cannot write the weights: {error}") from error
