"""Read checkpoints of openai-whisper (`*.pt`): a torch file with `dims` and `model_state_dict`.

It is read with `weights_only`, which builds tensors and plain values and refuses everything else in a pickle.
(openai/whisper, whisper/__init__.py `load_model` and whisper/model.py `ModelDimensions`)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linnet.errors import ModelError
from linnet.models.importing.layout import FLOATS, Dimensions, Weight, WhisperSource, count_parameters
from linnet.models.importing.names import transformers_name
from linnet.models.loading import PICKLE_WAY_OUT, first_line, quiet, refused_pickle

_FFN = 4  # width factor of feed-forward layers
_SIZES = {
    "n_mels": "mels",
    "n_audio_ctx": "audio_context",
    "n_audio_state": "width",
    "n_audio_head": "audio_heads",
    "n_audio_layer": "audio_layers",
    "n_vocab": "vocabulary",
    "n_text_ctx": "text_context",
    "n_text_head": "text_heads",
    "n_text_layer": "text_layers",
}


def read_openai(path: Path) -> WhisperSource:
    """Read the model in a checkpoint of openai-whisper. Raises `ModelError` that names the file and the way out."""
    checkpoint = _load(path)
    sizes, state = checkpoint.get("dims"), checkpoint.get("model_state_dict")
    if not isinstance(sizes, Mapping) or not isinstance(state, Mapping):
        keys = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise ModelError(
            f"{path} is not a checkpoint of openai-whisper: it must hold `dims` and `model_state_dict`, has {keys}"
        )
    dimensions = _dimensions(path, sizes)
    dimensions.check(path)
    weights = _weights(path, state)
    if 2 * count_parameters(weights) > path.stat().st_size:  # for example, tensors that repeat a few values
        raise ModelError(f"{path} is damaged: its tensors are larger than the file; copy or download it again")
    kinds = {str(weight.dtype).removeprefix("torch.") for weight in weights.values() if len(weight.shape) > 1}
    return WhisperSource(
        format="openai",
        path=path,
        dimensions=dimensions,
        weights=weights,
        description=" and ".join(sorted(kinds)),
        files=(path,),
    )


def _load(path: Path) -> Mapping[Any, Any]:
    """Load a torch file without executing any of it."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        with quiet():
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a wrong byte may lead to any error
        if (refused := refused_pickle(error)) is not None:
            raise ModelError(f"{path} {refused}; {PICKLE_WAY_OUT}") from error
        raise ModelError(
            f"{path} is damaged or not a torch checkpoint ({first_line(error)}): copy or download it again"
        ) from error
    if not isinstance(found, Mapping):
        raise ModelError(f"{path} holds a {type(found).__name__}, but a checkpoint of openai-whisper is a dictionary")
    return found


def _dimensions(path: Path, sizes: Mapping[Any, Any]) -> Dimensions:
    wrong = [name for name in (*_SIZES, "n_text_state") if type(sizes.get(name)) is not int]
    if wrong:
        raise ModelError(f"{path} is damaged: `dims` has no whole number for {wrong[0]}; copy or download it again")
    if sizes["n_text_state"] != sizes["n_audio_state"]:
        raise ModelError(f"{path}: its encoder and decoder differ in width, which Transformers' Whisper cannot")
    known = {name: int(sizes[key]) for key, name in _SIZES.items()}
    return Dimensions(**known, audio_ffn=_FFN * known["width"], text_ffn=_FFN * known["width"])


def _weights(path: Path, state: Mapping[Any, Any]) -> dict[str, Weight]:
    weights: dict[str, Weight] = {}
    for key, tensor in state.items():
        name = transformers_name(str(key))
        if name is None:
            raise ModelError(f"{path} has the tensor {key}, which no Whisper model has: it cannot be imported")
        if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATS or tensor.layout != torch.strided:
            raise ModelError(f"{path}: {key} is not a tensor of float32, float16 or bfloat16: it cannot be imported")
        if tensor.untyped_storage().nbytes() < math.prod(tensor.shape) * tensor.dtype.itemsize:
            raise ModelError(f"{path} is damaged: {key} is larger than its stored data; copy or download it again")
        weights[name] = _weight(tensor)
    return weights


def _weight(tensor: Tensor) -> Weight:
    return Weight(tuple(tensor.shape), tensor.dtype, tensor.detach)
