"""The model of a recipe, frozen by its policies, and how it is saved."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linnet.errors import OptionError
from linnet.models.device import choose_dtype
from linnet.models.families import CTC, FUSION, WHISPER
from linnet.models.fusion.adapters import folded_state
from linnet.models.loading import quiet
from linnet.models.resize import shorten_window
from linnet.models.resolve import find, hub_id, resolve
from linnet.models.speech import load_speech_model
from linnet.training.checkpoint import swap_folder
from linnet.training.freeze import freeze
from linnet.training.optimization import checkpoint_gradients
from linnet.training.speech.alignment import RowAlignment
from linnet.training.speech.ctc import CtcHead
from linnet.training.speech.distillation import load_teacher, require_steady_reader
from linnet.training.speech.inputs import FusionInputs, Inputs, Seq2SeqInputs, WhisperInputs, window_of
from linnet.training.speech.loss import FusionLoss, Seq2SeqLoss
from linnet.training.speech.recipe import Losses, SpeechModelChoice, SpeechRecipe
from linnet.training.weights import part_of

FUSION_POLICY = {"encoder": "frozen", "projector": "all", "language_model": "frozen"}


@dataclass(frozen=True, eq=False)
class SpeechTask:
    """A model with its policies applied, its inputs, losses, teacher, CTC head and row alignment."""

    model: Any
    inputs: Inputs
    policy: dict[str, str]
    losses: Losses = field(default_factory=Losses)
    teacher: Any = None
    ctc: CtcHead | None = None
    alignment: RowAlignment | None = None
    packed: bool = False

    @cached_property
    def loss(self) -> FusionLoss | Seq2SeqLoss:
        """The module that computes the loss."""
        if isinstance(self.inputs, FusionInputs):
            return FusionLoss(self.model, self.losses, ctc=self.ctc, alignment=self.alignment, packed=self.packed)
        return Seq2SeqLoss(self.model, self.losses, teacher=self.teacher, ctc=self.ctc)

    def export(self, folder: Path, state: dict[str, Tensor] | None = None) -> Path:
        """Write a Transformers folder of the model with its processor, atomically.

        `state` are the weights of `loss`, by default its own. Adapters of fusion models stay adapters, others are
        merged.
        """

        def write(place: Path) -> None:
            found = self.loss.state_dict() if state is None else state
            weights = part_of(found, "model")
            if not isinstance(self.inputs, FusionInputs):
                weights = folded_state(self.model, weights)
            with quiet():
                self.model.save_pretrained(place, state_dict=weights)
                self.inputs.save(place)
            if self.ctc is not None:
                self.ctc.save(place, part_of(found, "ctc.linear"))

        return swap_folder(folder, write)


def load_task(recipe: SpeechRecipe) -> SpeechTask:
    """Load or build the model of a recipe. Raises `ModelError` or `OptionError`."""
    choice = recipe.model
    dtype = choose_dtype(choice.dtype, "cpu")[0]
    if _is_fusion(choice):
        from linnet.models import fusion

        with quiet():
            model, processor = fusion.build(*_bases(choice), dtype=dtype, seed=recipe.run.seed, **_options(choice))
        return _frozen(recipe, model, _fusion_inputs(model, processor))
    speech = load_speech_model(resolve(choice.checkpoint), device="cpu", dtype=dtype)
    if speech.family is CTC:
        raise OptionError(f"{choice.checkpoint} is a CTC model: only autoregressive models can be trained.")
    if speech.family is FUSION:
        return _frozen(recipe, speech.model, _fusion_inputs(speech.model, speech.processor))
    made = (speech.model, speech.processor, speech.tokenizer)
    if speech.family is WHISPER:
        if choice.window_seconds < window_of(speech.processor):
            shorten_window(speech.model, speech.processor, choice.window_seconds)
        return _frozen(recipe, speech.model, WhisperInputs(*made, choice.language))
    window = speech.family.window_seconds(speech.model.config.to_dict())
    return _frozen(recipe, speech.model, Seq2SeqInputs(*made, window))


def outline(recipe: SpeechRecipe) -> SpeechTask:
    """The same for counting only: new fusion models need only configs and tokenizer."""
    choice = recipe.model
    if not _is_fusion(choice):
        return load_task(recipe)
    from linnet.models import fusion

    with quiet():
        config, processor = fusion.configure(*_bases(choice), **_options(choice))
        model = fusion.skeleton(config)
    with torch.device("meta"):  # adapters without weights, too
        return _frozen(recipe, model, _fusion_inputs(model, processor))


def _frozen(recipe: SpeechRecipe, model: Any, inputs: Inputs) -> SpeechTask:
    if isinstance(inputs, FusionInputs):
        policy = {**FUSION_POLICY, **recipe.freeze}
    else:
        policy = dict(recipe.freeze) or {name: "all" for name, _ in model.named_children()}
    torch.manual_seed(recipe.run.seed)  # for random adapters
    freeze(model, policy)
    if recipe.optimization.gradient_checkpointing:
        checkpoint_gradients(model)
    if not any(value.requires_grad for value in model.parameters()):
        raise OptionError("freeze: nothing is trained: give one part `all`, `top:4` or `lora(r=64)`.")
    if recipe.losses.alignment is not None and not isinstance(inputs, FusionInputs):
        raise OptionError("losses: alignment is for models with an encoder, a projector and a language model.")
    teacher = _teacher(recipe.losses, model, inputs, policy)
    return SpeechTask(model, inputs, policy, recipe.losses, teacher, packed=recipe.data.batching.packed)


def _teacher(losses: Losses, model: Any, inputs: Inputs, policy: dict[str, str]) -> Any:
    """The teacher model; None without one, or if it is a part of this model."""
    if losses.distill is None:
        return None
    if isinstance(inputs, Seq2SeqInputs):
        return load_teacher(losses.distill.teacher, model, inputs.tokenizer)
    if losses.distill.teacher:
        raise OptionError(
            f"losses: distill: the teacher of a fusion model is its own language model: leave the "
            f"teacher {losses.distill.teacher} out."
        )
    require_steady_reader(policy)
    return None


def _is_fusion(choice: SpeechModelChoice) -> bool:
    both = bool(choice.encoder and choice.language_model)
    if both == bool(choice.checkpoint) or bool(choice.encoder) != bool(choice.language_model):
        raise OptionError("model: name either an encoder and a language_model, or a checkpoint.")
    return both


def _bases(choice: SpeechModelChoice) -> tuple[str, str, dict[str, Any]]:
    return _base(choice.encoder), _base(choice.language_model), choice.projector


def _base(name: str) -> str:
    """A base model's local folder if it came from the package index; else its Hub id or name."""
    if Path(name).expanduser().exists():
        return name
    found = find(name)
    if found is None:
        return hub_id(name)
    return str(found.path) if found.origin == "index" else hub_id(name)


def _options(choice: SpeechModelChoice) -> dict[str, Any]:
    return {
        "instruction": choice.instruction,
        "system": choice.system,
        "window_seconds": choice.window_seconds,
        "pad_seconds": choice.pad_seconds,
        "revisions": (choice.encoder_revision, choice.language_model_revision),
    }


def _fusion_inputs(model: Any, processor: Any) -> FusionInputs:
    places = getattr(model.config.text_config, "max_position_embeddings", None)
    return FusionInputs(processor, model.prompt_tokens, model.windowing, places)
