"""Unpack model folders with packed weights, or an adapter in place of weights, to Linnet's cache, once per content."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from linnet.errors import ModelError, OutputError
from linnet.files import draft_folder, open_folder
from linnet.models import entries, packed
from linnet.models.adapters import WEIGHTS, is_adapter, merge_adapter
from linnet.models.cache import cache_folder
from linnet.models.causal import read_causal_spec
from linnet.models.checkpoint import SETTINGS, fingerprint, update_digest, weight_files
from linnet.models.loading import quiet

UNPACK_VERSION = 1  # of this code: increase it when its folders change

_MANIFEST = "linnet_unpacked.json"


def is_packed(folder: Path) -> bool:
    """Whether the weights of a model folder are packed."""
    return (folder / packed.FILE).is_file()


def unpacked_folder(source: Path) -> Path:
    """The Transformers folder of a packed one, or of an adapter to its neighbour, made if necessary; any other folder
    unchanged.

    It is in the cache, with float16 weights. Raises `ModelError` for a damaged source, `OutputError` if the cache
    cannot be written.
    """
    if not (is_packed(source) or (is_adapter(source) and not weight_files(source))):
        return source
    entry = _root() / f"{_key(source)}-{UNPACK_VERSION}"
    if entries.is_whole(entry, _MANIFEST):
        return entry
    try:
        open_folder(_root())
        with draft_folder(_root()) as draft:
            made = draft / "model"
            made.mkdir()
            (_unpack if is_packed(source) else _merge)(source, made)
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
    if is_adapter(source):
        digest.update(f"{_base(source)} {read_causal_spec(source)}".encode())
    weights = source / (packed.FILE if is_packed(source) else WEIGHTS)
    try:
        update_digest(digest, weights)
    except OSError as error:
        raise ModelError(f"cannot read {weights}: {error.strerror or error}") from error
    return digest.hexdigest()[:16]


def _base(source: Path) -> Path:
    """The Transformers folder of the model that an adapter belongs to, its neighbour."""
    return unpacked_folder(source.parent / read_causal_spec(source).base)


def _merge(source: Path, folder: Path) -> None:
    """Write the model that an adapter makes of its base, in float16."""
    from linnet.models.whisper import load_module

    base = _base(source)
    module = load_module(base, name=source.name)
    merge_adapter(module, source)
    with quiet():
        module.half().save_pretrained(folder)
    for path in (*base.iterdir(), *source.iterdir()):
        adapter = path.name.startswith("adapter_")
        if path.is_file() and not adapter and path.name not in ("model.safetensors", _MANIFEST, "config.json"):
            shutil.copyfile(path, folder / path.name)


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
