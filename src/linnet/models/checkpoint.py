"""What is in a model folder: its config, its weight files, its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from linnet.errors import ModelError

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
)  # the small files that decide what a model's output is

_WHOLE = 32 * 2**20  # weight files up to this size are hashed whole, larger ones by samples
_SAMPLES = 64
_SAMPLE_BYTES = 64 * 2**10


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `ModelError` that names the file where it cannot be read or is not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(
            f"{path} is not valid JSON ({error}): fetch or save the model again, the file is damaged"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} should hold a JSON object, but holds {type(value).__name__}: save the model again")
    return value


def choose_weights(names: Collection[str]) -> tuple[str, ...]:
    """Which of these files of a repository hold the weights that Transformers loads: safetensors, else .bin, else none.

    One whole file is preferred to shards, as Transformers does, so that copies in other precisions are not fetched.

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
    """The weight files of a model folder, shards by their index. Empty where there are none or where one is missing."""
    chosen = choose_weights([path.name for path in folder.iterdir() if path.exists()])  # a link's blob may be gone
    if not chosen or not chosen[0].endswith(".index.json"):
        return tuple(folder / name for name in chosen)
    weight_map = read_json(folder / chosen[0]).get("weight_map", {})
    shards = tuple(folder / name for name in sorted(set(weight_map.values())))
    return shards if all(shard.exists() for shard in shards) else ()


def is_complete(folder: Path) -> bool:
    """Whether config, weights and the files of a processor are all there (an interrupted download leaves some out)."""
    processor = any((folder / name).exists() for name in ("preprocessor_config.json", "processor_config.json"))
    tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "vocab.json", "tokenizer_config.json"))
    return (folder / "config.json").exists() and processor and tokenizer and bool(weight_files(folder))


def fingerprint(folder: Path) -> str:
    """12 hexadecimal digits that change when the model does: sha256 over its settings files and its weights.

    Weight files above 32 MiB count by size, and by 64 evenly spaced samples of 64 KiB (the first holds the header with
    names and shapes): any training step changes those, and a model of many GB is still named at once.
    """
    digest = hashlib.sha256()
    settings = (folder / name for name in SETTINGS if (folder / name).is_file())
    for path in (*settings, *weight_files(folder)):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        update_digest(digest, path)
    return digest.hexdigest()[:12]


def update_digest(digest: Any, path: Path) -> None:
    """Add a file to a hash: whole up to 32 MiB, above that 64 evenly spaced samples of 64 KiB."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read())
            return
        for index in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))


def verify_weights(folder: Path, way_out: str) -> None:
    """Check that the weight files are there, whole and readable, from their headers (fast at any size).

    Raises `ModelError` that names the file and ends in `way_out`.
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
                raise ModelError(
                    f"{path} is a Git LFS pointer and not the weights: run `git lfs pull` in its repository"
                )
            if path.suffix == ".safetensors":
                with safe_open(path, framework="np"):
                    pass
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is damaged ({error}): {way_out}") from error
