"""Load the published `efficient-speech/lite-whisper-*` checkpoints into our layers without their own code.

Their config is Whisper's with `low_rank_config`: the ranks of the low-rank linear layers for each encoder layer. Their
weights are `weight1` [D, k] and `weight2` [k, O], laid out for `x @ weight1 @ weight2 + bias`, and the output head is
stored beside the embedding to which it is tied. Source: Kamahori et al., "LiteASR", arXiv 2502.20583.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor
from transformers import AutoModel, AutoModelForSpeechSeq2Seq, GenerationConfig, WhisperForConditionalGeneration

from linnet.models.fusion.bases import read_weights
from linnet.models.lowrank.modeling_linnet_low_rank import MODEL_TYPE, auto_map, config_class, model_class

_PLACE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
_DROPPED = ("low_rank_config", "auto_map", "architectures", "model_type")
_OwnConfig: Any = config_class("whisper")


class LiteWhisperConfig(_OwnConfig):  # type: ignore[misc]
    """The config of a published folder, converted to ours."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """From a published config, or from the output of `to_dict`. Raises `ValueError` for one without ranks."""
        values = config_dict if MODEL_TYPE in config_dict else _translated(config_dict)
        return super().from_dict(values, **kwargs)


class LiteWhisperForConditionalGeneration:
    """Loads a published folder as a `LowRankWhisperForConditionalGeneration`."""

    config_class = LiteWhisperConfig

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """As in a Transformers model; the weights are converted to those of `PairLinear`."""
        place = {key: kwargs[key] for key in _PLACE if kwargs.get(key) is not None}
        config = config if config is not None else LiteWhisperConfig.from_pretrained(name, **place)
        own = _OwnConfig.from_dict(config.to_dict())
        state = _renamed(read_weights(name, place), own)
        for key in ("revision", "subfolder"):
            kwargs.pop(key, None)
        loaded = model_class(WhisperForConditionalGeneration).from_pretrained(
            None, *args, config=own, state_dict=state, **kwargs
        )
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.name_or_path = str(name)
        with suppress(OSError):  # without one, that of the config is kept
            model.generation_config = GenerationConfig.from_pretrained(name, **place)
        return loaded


def _translated(values: Mapping[str, Any]) -> dict[str, Any]:
    ranks = values.get("low_rank_config")
    if not isinstance(ranks, list):
        raise ValueError("config.json of a lite-whisper model has no list low_rank_config")
    layers = {}
    for index, told in enumerate(ranks):
        for own, rank in told.items():
            place = f"self_attn.{own}" if own.endswith("_proj") else own
            layers[f"model.encoder.layers.{index}.{place}"] = {"rank": rank, "form": "pair", "bias": True}
    kept = {key: value for key, value in values.items() if key not in _DROPPED}
    base = WhisperForConditionalGeneration
    plan = {"base_model_type": "whisper", "base_architecture": base.__name__, "layers": layers}
    return {**kept, "model_type": MODEL_TYPE, "auto_map": auto_map(base.config_class), MODEL_TYPE: plan}


def _renamed(state: dict[str, Tensor], config: Any) -> dict[str, Tensor]:
    state = dict(state)
    for name in config.linnet_low_rank["layers"]:
        for old, new in (("weight1", "first.weight"), ("weight2", "second.weight"), ("bias", "second.bias")):
            if (value := state.pop(f"{name}.{old}", None)) is not None:
                state[f"{name}.{new}"] = value.t().contiguous()
    if config.tie_word_embeddings:
        state.pop("proj_out.weight", None)
    return state


def register() -> None:
    """Let the Auto classes load such a config, including `AutoModel`, which its folder names."""
    for auto in (AutoModelForSpeechSeq2Seq, AutoModel):
        auto.register(LiteWhisperConfig, LiteWhisperForConditionalGeneration, exist_ok=True)
