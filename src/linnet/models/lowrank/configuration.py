"""Config classes of low-rank folders for `AutoConfig`, without loading torch before such a config is read."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class LowRankConfig(PretrainedConfig):  # type: ignore[misc]
    """Type `linnet_low_rank`: this class has no instances, `from_dict` returns those of `LowRank<base>Config`."""

    model_type = "linnet_low_rank"

    def __new__(cls, **values: Any) -> Any:
        """Create a config of the base's class, also for `AutoConfig.for_model`."""
        return cls.from_dict(values)

    def __init__(self, **values: Any) -> None:
        """Never called: `__new__` returns an object of another class."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Create a config of the base's class. Raises `ValueError` if the base is missing or unknown."""
        from linnet.models.lowrank.modeling_linnet_low_rank import base_type, config_class

        return config_class(base_type(config_dict)).from_dict(config_dict, **kwargs)


class LiteWhisperConfig(PretrainedConfig):  # type: ignore[misc]
    """Type `lite-whisper`, of the published checkpoints: `from_dict` returns objects of a class in `published`."""

    model_type = "lite-whisper"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Convert to our config. Raises `ValueError` for one without ranks."""
        from linnet.models.lowrank import published

        published.register()
        return published.LiteWhisperConfig.from_dict(config_dict, **kwargs)
