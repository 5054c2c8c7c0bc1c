"""Write low-rank models to folders, complete with all their files, and convert them back to dense models."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linnet.errors import ModelError, OptionError
from linnet.models.derived import new_folder
from linnet.models.lowrank.layers import is_low_rank, plan_of
from linnet.models.lowrank.modeling_linnet_low_rank import LOW_RANK, MODEL_TYPE, LowRankMixin, auto_map, model_class

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".npz", ".tflite")
_OWN = ("config.json", "README.md", "model.safetensors.index.json", "pytorch_model.bin.index.json")
_SCORES = (
    "self_attn.k_proj",
    "encoder_attn.k_proj",
)  # of Whisper: their bias adds the same to all scores


def save_low_rank(
    model: Any, source_folder: Path, output: Path, *, card: str | None = None, dtype: torch.dtype | None = None
) -> None:
    """Write a Transformers model with low-rank layers to a new folder, which loads wherever the base does.

    In addition to config, weights (in `dtype`, or unchanged; a tied head once) and their code, all other files of
    `source_folder` are copied: processor, tokenizer, generation config, license. `card` becomes README.md. Raises
    `OptionError` for a model without low-rank layers or with adapters, `OutputError` if the folder already exists or
    cannot be written.
    """
    if not is_low_rank(model):
        raise OptionError(f"{type(model).__name__} has no low-rank layers: save the model itself")
    made = as_low_rank(model, dtype)
    with new_folder(output) as folder:
        _save(made, folder)
        _copy_rest(source_folder, folder)
        if card is not None:
            (folder / "README.md").write_text(card, encoding="utf-8")


def as_low_rank(model: Any, dtype: torch.dtype | None = None) -> Any:
    """The same weights in the class that saves and loads low-rank layers: `LowRankWhisperForConditionalGeneration`, ...

    Without `dtype` they are shared. Raises `OptionError` for a fusion model with adapters or named bases.
    """
    plan = plan_of(model)
    if isinstance(model, LowRankMixin):
        base: Any = next(kind for kind in type(model).__mro__ if not issubclass(kind, LowRankMixin))
    else:
        base = type(model)
    if getattr(model.config, "adapters", None):
        raise OptionError("the model has adapters: merge them first, with its `merge`")
    values = _plain_values(model.config)
    if values.get("bases") is not None:
        values["bases"] = None  # all weights are present
    values["model_type"] = MODEL_TYPE
    values["auto_map"] = auto_map(base.config_class)
    values[MODEL_TYPE] = {
        "base_model_type": model.config.model_type,
        "base_architecture": base.__name__,
        "layers": plan,
    }
    kind = model_class(base)
    return _with_weights(kind, kind.config_class.from_dict(values), model.state_dict(), dtype, model)


def materialize(
    model: Any, output: Path, *, source_folder: Path | None = None, dtype: torch.dtype | None = None
) -> None:
    """Write a low-rank model, or the model of such a folder, as a dense checkpoint of its base type.

    Its results are the same, at the base's size and speed, in any runtime; the other files of the folder (or of
    `source_folder`) are copied. Raises `OptionError` for a model without low-rank layers, `ModelError` for a bias that
    the base lacks and that has an effect.
    """
    if isinstance(model, str | Path):
        source_folder = Path(model)
        model = load_low_rank(source_folder)
    if not is_low_rank(model):
        raise OptionError(f"{type(model).__name__} has no low-rank layers: it is already dense")
    dense = as_dense(model, dtype)
    with new_folder(output) as folder:
        _save(dense, folder)
        if source_folder is not None:
            _copy_rest(source_folder, folder)


def as_dense(model: Any, dtype: torch.dtype | None = None) -> Any:
    """The equivalent dense model of the base type. Raises `ModelError` as `materialize`."""
    base: Any = next(kind for kind in type(model).__mro__ if not issubclass(kind, LowRankMixin))
    values = {**_plain_values(model.config), "model_type": model.config.model_type}
    for key in (MODEL_TYPE, "auto_map", "architectures"):
        values.pop(key, None)
    config = base.config_class.from_dict(values)
    with torch.device("meta"):
        empty = base(config)
    state = dict(model.state_dict())
    for name, layer in model.named_modules():
        if isinstance(layer, LOW_RANK):
            for own in layer.state_dict():
                del state[f"{name}.{own}"]
            state |= _dense_state(name, layer, empty.get_submodule(name), model.config.model_type)
    return _with_weights(base, config, state, dtype, model)


def load_low_rank(folder: Path, dtype: torch.dtype | None = None) -> Any:
    """Load the model of a folder with the Auto class of its family. Raises `ModelError` for a folder of another
    kind."""
    from linnet.models.families import family_of

    auto = family_of(folder).auto_class()
    loaded = auto.from_pretrained(folder, dtype=dtype or torch.float32, local_files_only=True, trust_remote_code=False)
    return loaded.eval()


def _dense_state(name: str, layer: Any, target: nn.Module, kind: str) -> dict[str, Tensor]:
    weight, bias = layer.dense()
    dtype = layer.first.weight.dtype
    made = {f"{name}.weight": weight.to(dtype)}
    if getattr(target, "bias", None) is not None:
        made[f"{name}.bias"] = (weight.new_zeros(len(weight)) if bias is None else bias).to(dtype)
    elif bias is not None and not (kind == "whisper" and name.endswith(_SCORES)) and bias.abs().max() > 0:
        raise ModelError(f"{name} has a bias, but this layer of a dense {kind} model has none: it cannot be converted")
    return made


def _with_weights(kind: Any, config: Any, state: Mapping[str, Tensor], dtype: torch.dtype | None, like: Any) -> Any:
    """A model of this class with these weights, not copied; other buffers are those of `like`."""
    with torch.device("meta"):
        made = kind(config)
    if dtype is not None:
        state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    made.load_state_dict(state, assign=True)
    made.tie_weights()
    for name, value in like.named_buffers():
        owner, _, own = name.rpartition(".")
        if name not in state:
            made.get_submodule(owner).register_buffer(own, value, persistent=False)
    made.generation_config = like.generation_config if hasattr(like, "generation_config") else None
    return made.train(like.training)


def _plain_values(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = config.to_dict()
    values.pop("transformers_version", None)
    return values


def _save(model: Any, folder: Path) -> None:
    from transformers import GenerationConfig

    from linnet.models.loading import quiet

    if getattr(model, "generation_config", None) is not None:
        model.generation_config = GenerationConfig()  # the file is copied: that of a checkpoint may fail validation
    with quiet():
        model.save_pretrained(folder)


def _copy_rest(source: Path, folder: Path) -> None:
    """Copy all files except weights, config and card; a file of the source replaces a generated one."""
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix not in (*_WEIGHTS, ".py") and path.name not in _OWN:
            shutil.copyfile(path, folder / path.name)
