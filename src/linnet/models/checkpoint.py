"""The files of a model folder: config, weight files, fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from linnet.errors import ModelError
from linnet.models.json_files import LARGEST_VOCABULARY, read_json, require_regular

SETTINGS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "normalizer.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)  # small files that affect a model's output

ADAPTER = "adapter_model.safetensors"  # of PEFT
_VOCABULARIES = ("tokenizer.json", "vocab.json")  # settings read only by tokenizers
_OBJECTS = (*(n for n in SETTINGS if n.endswith(".json") and n not in _VOCABULARIES), "adapter_config.json")
_LOADED = (".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".tiktoken")  # files that loaders may open

_WHOLE = 32 * 2**20  # weight files up to this size are hashed completely, larger ones by samples
_SAMPLES = 64
_SAMPLE_BYTES = 64 * 2**10


def check_folder(folder: Path) -> None:
    """Check that a model folder is safe for a loader: regular files (or links to them, as in the Hub's cache), settings
    as JSON objects with fields of the right kind, shards in the folder itself.

    Raises `ModelError` that names the file and the field.
    """
    for path in _files(folder):
        if path.suffix in _LOADED:
            require_regular(path)
        if path.name in _OBJECTS and path.exists():  # a dangling link
            read_json(path)
        if path.name in _VOCABULARIES and path.exists() and path.stat().st_size > LARGEST_VOCABULARY:
            raise ModelError(f"{path} is larger than any vocabulary: fetch or save the model again")
    weight_files(folder)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ModelError(f"cannot read {folder}: {error.strerror or error}") from error


def choose_weights(names: Collection[str]) -> tuple[str, ...]:
    """The files of a repository with the weights that Transformers loads: safetensors, else .bin, else none.

    A single file is preferred to shards, as in Transformers, so that copies in other precisions are not fetched.

    >>> choose_weights(["config.json", "model.safetensors", "pytorch_model.bin"])
    ('model.safetensors',)
    """
    for stem, ending in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        if (whole := stem + ending) in names:
            return (whole,)
        if (index := f"{whole}.index.json") in names:
            shards = (n for n in names if n.startswith(f"{stem}-") and n.endswith(ending))
            return (index, *sorted(shards))
    return ()


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The weight files of a model folder, shards by their index. Empty if there are none or one is missing.

    Raises `ModelError` for an invalid index or one that names a file elsewhere, and for anything but regular files.
    """
    chosen = choose_weights([path.name for path in _files(folder) if path.exists()])  # a dangling link
    names: Collection[str] = chosen
    if chosen and chosen[0].endswith(".index.json"):
        names = set((read_json(folder / chosen[0]).get("weight_map") or {}).values())
    files = tuple(folder / name for name in sorted(names))
    for path in files:
        require_regular(path)
    return files if all(path.exists() for path in files) else ()


def stored_dtype(config: Mapping[str, Any]) -> str:
    """The dtype of a checkpoint's weights by its config.json; float32 if it has none."""
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def is_complete(folder: Path) -> bool:
    """Whether config, weights and processor files all exist (an interrupted download lacks some)."""
    processor = any((folder / name).exists() for name in ("preprocessor_config.json", "processor_config.json"))
    tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "vocab.json", "tokenizer_config.json"))
    return (folder / "config.json").exists() and processor and tokenizer and bool(weight_files(folder))


def fingerprint(folder: Path) -> str:
    """12 hexadecimal digits that change with the model: sha256 over its settings files and its weights.

    Weight files above 32 MiB count by size, and by 64 evenly spaced samples of 64 KiB (the first holds the header with
    names and shapes): any training step changes those, and even many GB are hashed quickly. Raises `ModelError` for
    files that cannot be read.
    """
    digest = hashlib.sha256()
    settings = (folder / name for name in SETTINGS if (folder / name).is_file())
    adapters = (path for path in (folder / ADAPTER,) if path.is_file())
    try:
        for path in (*settings, *weight_files(folder), *adapters):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            update_digest(digest, path)
    except OSError as error:
        raise ModelError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    return digest.hexdigest()[:12]


def update_digest(digest: Any, path: Path) -> None:
    """Add a file to a hash: completely up to 32 MiB, else 64 evenly spaced samples of 64 KiB."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read(size))
            return
        for index in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))


def verify_weights(folder: Path, way_out: str) -> None:
    """Check by their headers that the weight files exist and are complete (fast at any size).

    Raises `ModelError` that names the file and ends with `way_out`.
    """
    from safetensors import SafetensorError, safe_open

    files = weight_files(folder)
    if not files:
        raise ModelError(f"{folder} holds no model.safetensors, or a shard of it is missing: {way_out}")
    for path in files:
        try:
            with path.open("rb") as file:
                start = file.read(20)
            if start.startswith(b"version https://git"):
                raise ModelError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in its repository")
            if path.suffix == ".safetensors":
                with safe_open(path, framework="np"):
                    pass
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is damaged ({error}): {way_out}") from error
