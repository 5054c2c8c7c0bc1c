"""Transformers models with low-rank linear layers: this file is saved next to their weights.

It only needs PyTorch and Transformers, so that `trust_remote_code=True` loads such a folder without Linnet. A folder's
config.json is that of the base model with another type and one more field:

    "model_type": "linnet_low_rank",
    "linnet_low_rank": {"base_model_type": "whisper", "layers": {"model.encoder.layers.0.fc1": {"rank": 32,
                        "form": "pair", "bias": true}, ...}}

Config and model classes are derived from those of the base on first use: `LowRankWhisperConfig` and
`LowRankWhisperForConditionalGeneration` are attributes of this module, and so are those of any other architecture. In
memory the config keeps the base's type, which determines Transformers' behavior.

Shapes: D inputs, O outputs, k the rank.
"""

from __future__ import annotations

import copy
import sys
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCTC, AutoModelForSpeechSeq2Seq, PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES

MODEL_TYPE = "linnet_low_rank"
Form = Literal["pair", "pivot"]

_PREFIX = "LowRank"
_AUTO = {
    "AutoModel": AutoModel,
    "AutoModelForSpeechSeq2Seq": AutoModelForSpeechSeq2Seq,
    "AutoModelForCTC": AutoModelForCTC,
}


class PairLinear(nn.Module):
    """Two thin layers: D to k without a bias, then k to O. Costs k (D + O) parameters."""

    form: Form = "pair"

    def __init__(self, inputs: int, outputs: int, rank: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = inputs, outputs, rank
        self.first = nn.Linear(inputs, rank, bias=False)
        self.second = nn.Linear(rank, outputs, bias=bias)

    @property
    def has_bias(self) -> bool:
        """Whether a bias is added."""
        return self.second.bias is not None

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """The weight [O, D] and the bias [O] of the one layer that computes the same, in float64."""
        weight = self.second.weight.double() @ self.first.weight.double()
        return weight, None if self.second.bias is None else self.second.bias.double()

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., O]."""
        y: Tensor = self.second(self.first(x))
        return y


class PivotLinear(nn.Module):
    """k pivot outputs, and the others as combinations of them: k (D + O) - k^2 parameters (PIFA).

    `first` [k, D] holds the pivot rows of the dense weight, `rest` [O - k, k] the coefficients of the other rows.
    Output i is entry `order[i]` of (pivots, rest). Source: Zhao et al., "PIFA", arXiv 2501.19090, section 3.
    """

    form: Form = "pivot"
    order: Tensor

    def __init__(self, inputs: int, outputs: int, rank: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = inputs, outputs, rank
        self.first = nn.Linear(inputs, rank, bias=bias)
        self.rest = nn.Linear(rank, outputs - rank, bias=bias)
        self.register_buffer("order", torch.arange(outputs))

    @property
    def has_bias(self) -> bool:
        """Whether a bias is added."""
        return self.first.bias is not None

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """The weight [O, D] and the bias [O] of the one layer that computes the same, in float64."""
        first, rest = self.first.weight.double(), self.rest.weight.double()
        weight = torch.cat([first, rest @ first])[self.order]
        if self.first.bias is None:
            return weight, None
        pivots = self.first.bias.double()
        return weight, torch.cat([pivots, rest @ pivots + self.rest.bias.double()])[self.order]

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., O].

        For many rows the weight is reordered instead of the outputs, which moves less data.
        """
        pivots = self.first(x)
        if type(self.rest) is nn.Linear and type(self.rest.weight.data) is Tensor and _rows(x) > self.rank:
            return nn.functional.linear(pivots, *self._spread())
        return torch.cat([pivots, self.rest(pivots)], -1)[..., self.order]

    def _spread(self) -> tuple[Tensor, Tensor | None]:
        """The weight [O, k] from pivots to all outputs in order, and the bias [O], which is zero for pivots."""
        weight, bias = self.rest.weight, self.rest.bias
        eye = torch.eye(self.rank, dtype=weight.dtype, device=weight.device)
        spread = torch.cat([eye, weight])[self.order]
        return spread, None if bias is None else torch.cat([bias.new_zeros(self.rank), bias])[self.order]


LOW_RANK = (PairLinear, PivotLinear)


def _rows(x: Tensor) -> int:
    return x.numel() // x.shape[-1]


def plan_of(model: nn.Module) -> dict[str, dict[str, Any]]:
    """The low-rank layers of a model: for each name the `rank`, the `form`, and whether there is a `bias`."""
    return {
        name: {"rank": module.rank, "form": module.form, "bias": module.has_bias}
        for name, module in model.named_modules()
        if isinstance(module, LOW_RANK)
    }


def is_low_rank(model: nn.Module) -> bool:
    """Whether a model has low-rank layers."""
    return any(isinstance(module, LOW_RANK) for module in model.modules())


def low_rank_linear(inputs: int, outputs: int, rank: int, form: Form, *, bias: bool = True) -> PairLinear | PivotLinear:
    """An empty layer of one of the forms. Raises `ValueError` for a rank that is not between 1 and both widths."""
    if not 1 <= rank <= min(inputs, outputs) - (form == "pivot" and rank == outputs):
        raise ValueError(f"rank {rank} does not fit a layer of {inputs} inputs and {outputs} outputs in {form} form")
    kind = PairLinear if form == "pair" else PivotLinear
    return kind(inputs, outputs, rank, bias=bias)


def apply_plan(model: nn.Module, layers: dict[str, dict[str, Any]], prefix: str = "") -> None:
    """Replace linear layers by empty low-rank ones according to `layers`: name to rank, form and bias.

    `prefix` is the prefix of names if the model is a part of the saved one; other names are ignored. Raises
    `ValueError` for a name that does not exist or is not a linear layer.
    """
    for name, told in layers.items():
        if not name.startswith(prefix):
            continue
        parent, _, own = name[len(prefix) :].rpartition(".")
        try:
            place: Any = model.get_submodule(parent)
            dense = place.get_submodule(own)
        except AttributeError as error:
            raise ValueError(f"{MODEL_TYPE}: {type(model).__name__} has no layer {name}") from error
        if not isinstance(dense, nn.Linear):
            raise ValueError(f"{MODEL_TYPE}: {name} of {type(model).__name__} is not a linear layer")
        with torch.device(dense.weight.device):
            layer = low_rank_linear(
                dense.in_features, dense.out_features, told["rank"], told["form"], bias=told.get("bias", True)
            )
        setattr(place, own, layer.to(dense.weight.dtype))


class LowRankConfigMixin:
    """Additions to the config of a base model: its type on disk, so that the folder is not taken for a dense one."""

    linnet_low_rank: dict[str, Any]

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> Any:
        """As in the base; the type is that of the base again."""
        values, rest = super().get_config_dict(*args, **kwargs)  # type: ignore[misc]
        return _of_base(values), rest

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in the base, from the output of `to_dict`."""
        return super().from_dict(_of_base(config_dict), **kwargs)  # type: ignore[misc]

    def to_dict(self) -> dict[str, Any]:
        """As in the base, with the type `linnet_low_rank`."""
        values: dict[str, Any] = super().to_dict()  # type: ignore[misc]
        return {**values, "model_type": MODEL_TYPE}


class LowRankMixin:
    """Additions to the model of a base: layers by the config's plan, created before any weight is loaded."""

    config: Any
    base_model_prefix: str

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        self._follow_plan()

    def add_adapters(self) -> None:
        """As in a base that adds adapters when it is created: to the layers of the plan."""
        self._follow_plan()
        super().add_adapters()  # type: ignore[misc]

    def _follow_plan(self) -> None:
        if not is_low_rank(self):  # type: ignore[arg-type]
            apply_plan(self, self.config.linnet_low_rank["layers"], self._prefix())  # type: ignore[arg-type]

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """As in the base; the plan is that of the current layers."""
        made = {f"{self._prefix()}{name}": told for name, told in plan_of(self).items()}  # type: ignore[arg-type]
        self.config.linnet_low_rank = {**self.config.linnet_low_rank, "layers": made}
        return super().save_pretrained(*args, **kwargs)  # type: ignore[misc]

    def tie_weights(self, *args: Any, **kwargs: Any) -> Any:
        """As in the base; weights that are not in the file count as missing, which Transformers 5.3 omits."""
        if (missing := kwargs.get("missing_keys")) is not None:
            tied = getattr(self, "all_tied_weights_keys", {})
            missing.update(name for name in tied if self.get_parameter(name).is_meta)  # type: ignore[attr-defined]
        return super().tie_weights(*args, **kwargs)  # type: ignore[misc]

    def _prefix(self) -> str:
        """The prefix of names in the plan if this model is a part of the saved one."""
        whole = self.config.linnet_low_rank.get("base_architecture")
        is_part = whole and type(self).__name__ != f"{_PREFIX}{whole}"
        return f"{self.base_model_prefix}." if is_part and self.base_model_prefix else ""


def base_type(config: dict[str, Any]) -> str:
    """The model type of the base in the dictionary of a low-rank config. Raises `ValueError` if it is missing."""
    told = config.get(MODEL_TYPE)
    if not isinstance(told, dict) or not isinstance(told.get("base_model_type"), str):
        raise ValueError(f"the config has no {MODEL_TYPE} with a base_model_type: it is not for a low-rank model")
    return str(told["base_model_type"])


def config_class(kind: str) -> Any:
    """The low-rank config class of a base model type. Raises `ValueError` for an unknown type."""
    try:
        base = CONFIG_MAPPING[kind]
    except KeyError as error:
        raise ValueError(f"this version of Transformers does not know the model type {kind!r}") from error
    return _config_class(base)


def model_class(base: Any) -> Any:
    """The low-rank class of a Transformers model class; it is created and registered with the Auto classes once."""
    name = _PREFIX + base.__name__
    if name not in globals():
        config = _config_class(base.config_class)
        body = {"__module__": __name__, "__doc__": f"`{base.__name__}` with low-rank layers.", "config_class": config}
        made = type(name, (LowRankMixin, base), body)
        globals()[name] = made
        _register(config, base, made)
    return globals()[name]


def auto_map(base: Any) -> dict[str, str]:
    """The entry of a config.json for the classes in this file, by the config class of the base."""
    known = {name: auto._model_mapping.get(base, None) for name, auto in _AUTO.items()}
    kinds = {"AutoConfig": base, **{n: k[0] if isinstance(k, tuple) else k for n, k in known.items() if k is not None}}
    return {name: f"{__name__.rpartition('.')[2]}.{_PREFIX}{kind.__name__}" for name, kind in kinds.items()}


def _config_class(base: Any) -> Any:
    name = _PREFIX + base.__name__
    if name not in globals():
        body = {
            "__module__": __name__,
            "__doc__": f"`{base.__name__}` of a model with low-rank layers.",
            "__init__": base.__init__,
            "linnet_low_rank": None,
        }
        made: Any = type(name, (LowRankConfigMixin, base), body)
        made.register_for_auto_class()
        globals()[name] = made
        if (told := getattr(base, "when_made", None)) is not None:  # Linnet's own config: its model is registered later
            told()
        for auto in _AUTO.values():
            known = auto._model_mapping.get(base, None)
            if known is not None:
                model_class(known[0] if isinstance(known, tuple) else known)
    return globals()[name]


def _register(config: Any, base: type[PreTrainedModel], made: Any) -> None:
    for name, auto in _AUTO.items():
        if auto._model_mapping.get(base.config_class, None) is base:
            auto.register(config, made, exist_ok=True)
            made.register_for_auto_class(name)
    if made._auto_class == "AutoModelForSpeechSeq2Seq":  # tells the pipeline that it generates tokens
        MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES[f"{MODEL_TYPE}_{config.model_type}"] = made.__name__


def _of_base(config: dict[str, Any]) -> dict[str, Any]:
    values = copy.copy(config)
    if values.get("model_type") == MODEL_TYPE:
        values["model_type"] = base_type(values)
    return values


def __getattr__(name: str) -> Any:
    if not name.startswith(_PREFIX):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = name.removeprefix(_PREFIX)
    for home in (transformers, sys.modules.get("linnet.models.fusion")):
        found = getattr(home, base, None)
        if isinstance(found, type):
            return _config_class(found) if issubclass(found, PretrainedConfig) else model_class(found)
    raise AttributeError(f"{base} is neither in this version of Transformers nor in Linnet: upgrade one of them")
