"""The base models of a fusion model, loaded by name and revision if its folder holds only the trained weights."""

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
    base model if it is missing, damaged, or a folder whose weights have changed since training.
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
    """The `revision` argument for a Hub model; folders have none."""
    return {} if revision is None or Path(name).is_dir() else {"revision": revision}


def missing_base(part: str, name: str, revision: str | None, error: BaseException) -> ModelError:
    """The error for a base model that cannot be loaded."""
    at = f" at revision {revision}" if revision else ""
    return ModelError(
        f"base model {name}{at}, the {PARTS[part]} of this model, cannot be loaded ({_first_line(error)}): fetch "
        'it with network access, or change its location (in config.json under "bases")'
    )


def base_weights(part: str, base: dict[str, Any], expected: set[str], **options: Any) -> dict[str, Tensor]:
    """The weights of a base model under the fusion model's names.

    `expected` are all of these: layers with adapters have their own weight under `base_layer`. Only the first of tied
    weights is returned, so that a trained one updates both.
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
    """The Hub commit of a loaded config, or the fingerprint of a folder; None if unknown."""
    if not Path(name).is_dir():
        return getattr(config, "_commit_hash", None)
    try:
        from linnet.models.checkpoint import fingerprint
    except ImportError:
        return None
    return fingerprint(Path(name))


def read_weights(folder: Any, place: dict[str, Any]) -> dict[str, Tensor]:
    """The weights in a folder or repository; `place` are the arguments of `from_pretrained` that locate it."""
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
        raise missing_base(part, name, revision, FileNotFoundError("the folder does not exist"))
    if revision is None or not Path(name).is_dir():
        return
    found = base_revision(name, None)
    if found is not None and found != revision:
        raise ModelError(
            f"base model {name}, the {PARTS[part]} of this model, is not the one it was trained on: its fingerprint is "
            f"{found} and not {revision}; restore the old weights, or change their location in config.json"
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
