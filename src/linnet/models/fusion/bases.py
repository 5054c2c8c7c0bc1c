"""The two base models that a fusion model stands on: loaded by name and revision, where its folder holds only what was
trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForCTC

from .errors import ModelError

PARTS = {"encoder": "speech encoder", "language_model": "language model"}


def load_base(part: str, name: str, revision: str | None = None, **options: Any) -> Any:
    """Load the encoder or the language model of a fusion model from a folder or the Hub.

    `options` go to `from_pretrained` (dtype, local_files_only, cache_dir, token). Raises `ModelError` that names the
    base model where it is missing, damaged, or a folder whose weights are no longer those that the model was trained
    on.
    """
    _check_folder(part, name, revision)
    given = {**options, **at_revision(name, revision)}
    try:
        if part == "language_model":
            return AutoModelForCausalLM.from_pretrained(name, **given)
        config = AutoConfig.from_pretrained(name, **{k: v for k, v in given.items() if k != "dtype"})
        if getattr(config, "encoder_config", None) is not None:  # a CTC model around its encoder
            return AutoModelForCTC.from_pretrained(name, **given).encoder
        model = AutoModel.from_pretrained(name, **given)
        return model.encoder if config.model_type == "whisper" else model
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise missing_base(part, name, revision, error) from error


def at_revision(name: str, revision: str | None) -> dict[str, str]:
    """The argument that names a revision of a Hub model; a folder has none."""
    return {} if revision is None or Path(name).is_dir() else {"revision": revision}


def missing_base(part: str, name: str, revision: str | None, error: BaseException) -> ModelError:
    """The error of a base model that cannot be loaded."""
    at = f" at revision {revision}" if revision else ""
    return ModelError(
        f"base model {name}{at}, the {PARTS[part]} of this model, cannot be loaded ({_first_line(error)}): fetch "
        'it where there is a network, or name another place of it (in config.json under "bases")'
    )


def base_weights(part: str, base: dict[str, Any], expected: set[str], **options: Any) -> dict[str, Tensor]:
    """The weights of a base model under the names that the fusion model has for them.

    `expected` are all its names: a layer that carries adapters keeps its own weight under `base_layer`. Of weights
    that are tied only the first is given, so that a trained one takes the other with it.
    """
    weights: dict[str, Tensor] = {}
    seen: set[tuple[int, torch.Size]] = set()
    for name, value in load_base(part, base["name"], base.get("revision"), **options).state_dict().items():
        place = (value.data_ptr(), value.shape)
        if place in seen:
            continue
        seen.add(place)
        owner, _, last = f"{part}.{name}".rpartition(".")
        adapted = f"{owner}.base_layer.{last}"
        weights[adapted if adapted in expected else f"{owner}.{last}"] = value
    return weights


def base_revision(name: str, config: Any) -> str | None:
    """The Hub's commit of a loaded config, the fingerprint of a folder; None where neither can be told."""
    if not Path(name).is_dir():
        return getattr(config, "_commit_hash", None)
    try:
        from linnet.models.checkpoint import fingerprint
    except ImportError:
        return None
    return fingerprint(Path(name))


def read_weights(folder: Any, place: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that a folder or repository holds; `place` are the arguments of `from_pretrained` that say where."""
    from safetensors.torch import load_file
    from transformers.utils import cached_file
    from transformers.utils.hub import get_checkpoint_shard_files

    missing = {"_raise_exceptions_for_missing_entries": False, **place}
    index = cached_file(folder, "model.safetensors.index.json", **missing)
    if index is not None:
        files = get_checkpoint_shard_files(folder, index, **place)[0]
    else:
        files = [cached_file(folder, "model.safetensors", **place)]
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= load_file(Path(file))
    return weights


def _check_folder(part: str, name: str, revision: str | None) -> None:
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise missing_base(part, name, revision, FileNotFoundError("there is no such folder"))
    if revision is None or not Path(name).is_dir():
        return
    found = base_revision(name, None)
    if found is not None and found != revision:
        raise ModelError(
            f"base model {name}, the {PARTS[part]} of this model, is not what it was trained on: its fingerprint is "
            f"{found} and not {revision}; put the old weights back there, or name their place in config.json"
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
