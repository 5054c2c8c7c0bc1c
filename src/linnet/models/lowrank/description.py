"""Read the base model from a low-rank folder's config.json, as plain JSON without torch and Transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linnet.errors import ModelError

LOW_RANK_TYPE, PUBLISHED_TYPE = "linnet_low_rank", "lite-whisper"
_PREFIX = "LowRank"


def is_low_rank_config(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is for a model with low-rank layers, ours or a published one."""
    return config.get("model_type") in (LOW_RANK_TYPE, PUBLISHED_TYPE)


def as_dense_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the type and the architectures of the dense model; other configs unchanged.

    Raises `ModelError` if the base is missing.

    >>> told = {"model_type": "linnet_low_rank", "linnet_low_rank": {"base_model_type": "whisper"}}
    >>> as_dense_config(told)["model_type"]
    'whisper'
    """
    values = dict(config)
    if values.get("model_type") == PUBLISHED_TYPE:
        return {**values, "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}
    told = values.get(LOW_RANK_TYPE)
    if values.get("model_type") == LOW_RANK_TYPE:
        base = told.get("base_model_type") if isinstance(told, dict) else None
        if not isinstance(base, str):
            raise ModelError(f"config.json is for a {LOW_RANK_TYPE} model, but does not name the type of its base")
        values["model_type"] = base
    if told is not None:
        values["architectures"] = [name.removeprefix(_PREFIX) for name in values.get("architectures") or ()]
    return values
