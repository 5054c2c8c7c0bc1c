"""The model of causal training: loading, freezing by policies, saving as an adapter or a whole model."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from linnet.errors import OptionError
from linnet.models.adapters import WEIGHTS, read_adapter
from linnet.models.causal import CausalSpec
from linnet.models.families import WHISPER, family_of
from linnet.models.fusion.adapters import folded_state, lora_layers
from linnet.models.loading import quiet
from linnet.models.resolve import ModelRef, resolve
from linnet.models.whisper import WhisperModel, load_whisper
from linnet.training.causal.batches import Shape
from linnet.training.causal.loss import CausalLoss
from linnet.training.causal.options import Imitation
from linnet.training.checkpoint import swap_folder
from linnet.training.freeze import freeze
from linnet.training.optimization import checkpoint_gradients
from linnet.training.weights import part_of

_ADAPTER = "base_model.model."  # prefix of layer names in PEFT adapters
_INPUT_FILES = (  # processor and tokenizer, unchanged by training
    *("preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json"),
    *("merges.txt", "normalizer.json", "added_tokens.json", "special_tokens_map.json"),
)


@dataclass(frozen=True, eq=False)
class CausalTask:
    """The model with its policies applied, its spec, and how it is saved."""

    whisper: WhisperModel
    reference: ModelRef
    policy: Mapping[str, str]
    spec: CausalSpec
    smoothing: float = 0.0
    imitation: Imitation = field(default_factory=Imitation)
    teacher: Any = None  # the model before training, for `imitation`

    @property
    def model(self) -> Any:
        """Transformers' Whisper."""
        return self.whisper.module

    @cached_property
    def loss(self) -> CausalLoss:
        """The module that computes the loss."""
        return CausalLoss(self.model, smoothing=self.smoothing, teacher=self.teacher, imitation=self.imitation)

    @property
    def shape(self) -> Shape:
        """The model dimensions that batches need."""
        whisper = self.whisper
        return Shape(whisper.n_mels, whisper.window_samples, whisper.max_length, whisper.vocabulary.end)

    def trained_on(self, hours: float) -> CausalTask:
        """A copy with the hours of training data in its spec."""
        return replace(self, spec=replace(self.spec, hours=round(hours, 3)))

    @property
    def only_adapters(self) -> bool:
        """Whether only adapters are trained, and therefore saved."""
        return all("lora_" in name for name, value in self.model.named_parameters() if value.requires_grad)

    def export(self, folder: Path, state: dict[str, Tensor] | None = None) -> Path:
        """Write the adapters in PEFT format, or the whole model with its processor, and `linnet_causal.json`.

        `state` holds the weights of `loss`; default: its current ones.
        """
        weights = part_of(self.loss.state_dict() if state is None else state, "model")

        def write(place: Path) -> None:
            if self.only_adapters:
                save_adapters(self.model, weights, place, base=self.spec.base)
            else:
                with quiet():
                    self.model.save_pretrained(place, state_dict=folded_state(self.model, weights))
                for name in _INPUT_FILES:
                    if (self.reference.path / name).is_file():
                        shutil.copyfile(self.reference.path / name, place / name)
            self.spec.save(place)

        return swap_folder(folder, write)


def load_causal(
    name: str,
    policies: Mapping[str, str],
    spec: CausalSpec,
    *,
    seed: int,
    checkpointing: bool = False,
    smoothing: float = 0.0,
    imitation: Imitation | None = None,
) -> CausalTask:
    """Load a Whisper in float32 and apply the policies; without policies, all weights are trained.

    Raises `ModelError` if it cannot be loaded, `OptionError` if it is not a Whisper or nothing is trained.
    """
    reference = resolve(name)
    if family_of(reference.path) is not WHISPER:
        raise OptionError(f"model: checkpoint: {name} is not a Whisper: only Whisper models can be made causal.")
    whisper = load_whisper(reference.path, name=name)
    model: Any = whisper.module
    teacher = copy.deepcopy(model).requires_grad_(False).eval() if imitation else None
    torch.manual_seed(seed)  # for random adapters
    policy = dict(policies) or {child: "all" for child, _ in model.named_children()}
    freeze(model, policy)
    if not any(value.requires_grad for value in model.parameters()):
        raise OptionError("freeze: nothing is trained: give one part `all`, `top:4` or `lora(r=32)`.")
    if checkpointing:
        checkpoint_gradients(model)
    return CausalTask(whisper, reference, policy, spec, smoothing, imitation or Imitation(), teacher)


def load_adapters(model: Any, folder: Path) -> None:
    """Copy the adapters of a folder of `save_adapters` into those of a model.

    Raises `ModelError` for a missing or damaged adapter, and `OptionError` for one of other layers, ranks or alphas.
    """
    config, given = read_adapter(folder)
    own = {_saved(name): value for name, value in model.named_parameters() if "lora_" in name}
    odd = sorted(own.keys() ^ given.keys()) or sorted(name for name in own if own[name].shape != given[name].shape)
    alphas = {layer.lora_alpha["default"] for _, layer in lora_layers(model)} - {config.get("lora_alpha")}
    if odd or alphas:
        raise OptionError(
            f"model: adapter: {folder} has other layers, ranks or alphas ({odd[0] if odd else 'lora_alpha'}): give "
            "`freeze` as it was trained with"
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(given[name])


def _saved(name: str) -> str:
    """The name of an adapter's weight in PEFT's file."""
    return f"{_ADAPTER}{name.replace('.default.', '.')}"


def save_adapters(model: Any, weights: Mapping[str, Tensor], folder: Path, *, base: str) -> None:
    """Write the adapters among the weights of a model in the format that `PeftModel.from_pretrained` reads.

    Raises `OptionError` if parts have adapters of different ranks.
    """
    layers = dict(lora_layers(model))
    options = {(layer.r["default"], layer.lora_alpha["default"]) for layer in layers.values()}
    if len(options) != 1:
        raise OptionError("freeze: give all parts adapters of the same rank and alpha, so that they fit one file.")
    (rank, alpha) = options.pop()
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(layers),
        "bias": "none",
        "inference_mode": True,
    }
    tensors = {_saved(name): value.detach().float().contiguous() for name, value in weights.items() if "lora_" in name}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
