"""Derive one Whisper-family model folder from another: load, copy, write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.errors import OptionError, OutputError
from linnet.files import check_place, whole_folder
from linnet.models.catalog import count_parameters
from linnet.models.families import WHISPER, family_of
from linnet.models.json_files import read_json
from linnet.models.loading import quiet
from linnet.models.resolve import ModelRef, resolve
from linnet.models.vocabulary import WhisperVocabulary
from linnet.models.whisper import load_whisper

CARD = ("README.md", "LICENSE", "LICENSE.txt", "NOTICE")  # files required by licenses
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("normalizer.json", "special_tokens_map.json", "added_tokens.json"),
)


@dataclass(frozen=True)
class BaseCheckpoint:
    """A loaded checkpoint to derive another from: its module may be changed, its folder is not."""

    ref: ModelRef
    module: Any
    vocabulary: WhisperVocabulary
    generation: dict[str, Any]  # generation_config.json; empty if missing

    def remember(self, **facts: Any) -> None:
        """Record the origin of the new model in Linnet's part of the module's config."""
        said = getattr(self.module.config, "linnet", None) or {}
        made_from = {"model": self.ref.name, "revision": self.ref.revision}
        self.module.config.linnet = {**said, "made_from": made_from, **facts}


def load_base(name: str, *, offline: bool, purpose: str) -> BaseCheckpoint:
    """Load a Whisper-family model with its weights in stored precision.

    Raises `ModelError` for one that cannot be loaded, `OptionError` that ends with `purpose` for one of another family.
    """
    import torch

    ref = resolve(name, offline=offline)
    if family_of(ref.path) is not WHISPER:
        raise OptionError(f"model {name} is of another family: only Whisper-family models {purpose}")
    dtypes = {"F16": torch.float16, "BF16": torch.bfloat16}
    _, stored = count_parameters(ref.path)
    dtype = dtypes.get(stored[0], torch.float32) if len(stored) == 1 else torch.float32
    model = load_whisper(ref.path, name=ref.name, device="cpu", dtype=dtype)
    settings = ref.path / "generation_config.json"
    return BaseCheckpoint(ref, model.module, model.vocabulary, read_json(settings) if settings.is_file() else {})


def save_module(module: Any, generation: Mapping[str, Any], folder: Path) -> None:
    """Write weights, config.json and the given generation_config.json."""
    from transformers import GenerationConfig

    module.generation_config = GenerationConfig()  # ours is written below: that of a checkpoint may fail validation
    with quiet():
        module.save_pretrained(folder)
    path = folder / "generation_config.json"
    if generation:
        path.write_text(json.dumps(generation, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def copy_files(source: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Copy the existing ones of these files."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def check_output(folder: Path) -> None:
    """Raise `OutputError` if the path exists (nothing is ever overwritten) or cannot be written."""
    if folder.exists() or folder.is_symlink():
        raise OutputError(f"{folder} already exists: choose another --output, or remove it first")
    check_place(folder)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that becomes `folder` on success, and is removed otherwise.

    Raises `OutputError` if `folder` exists or cannot be written.
    """
    from safetensors import SafetensorError

    check_output(folder)
    try:
        with whole_folder(folder) as draft:
            yield draft
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder}: cannot write the model: {getattr(error, 'strerror', None) or error}") from error
