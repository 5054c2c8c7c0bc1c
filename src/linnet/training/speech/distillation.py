"""Distillation teachers: the model itself reading the text, or a larger model.

The teacher of a fusion model is its own language model, which reads the text instead of the audio in the same prompt
and predicts the tokens of the answer (as in Ultravox). An encoder-decoder model learns from a larger one of its kind
(Hinton et al. 2015, https://arxiv.org/abs/1503.02531).

Shapes: B utterances, L label tokens, M labels with loss, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linnet.errors import OptionError
from linnet.models.checkpoint import stored_dtype
from linnet.models.device import choose_dtype
from linnet.models.fusion.adapters import without_lora
from linnet.models.json_files import read_json
from linnet.models.resolve import resolve
from linnet.models.speech import load_speech_model
from linnet.training.batch import IGNORED
from linnet.training.freeze import TrainAll, TrainTop, freeze, parse


@dataclass(frozen=True, eq=False)
class TeacherTargets:
    """A teacher's predictions at the M labels: `states` [M, D] for the output head, or logits [M, V].

    Only those that are `counted` [M] are learned, at this temperature.
    """

    states: Tensor
    counted: Tensor
    temperature: float


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of each row of logits [M, V] at temperature T (Hinton et al. 2015, 2.1).

    T^2 keeps the scale of the gradient independent of T.
    """
    log_student, log_teacher = ((logits.float() / temperature).log_softmax(-1) for logits in (student, teacher))
    return temperature**2 * nn.functional.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)


# --- the language model of a fusion model as teacher


@torch.no_grad()
def text_states(model: Any, labels: Tensor, *, packed: bool = False) -> Tensor:
    """The states [M, D] of a fusion model's language model that predict `labels` [B, L] from the text instead of audio.

    Adapters and dropout are off.
    """
    embed = model.language_model.get_input_embeddings()
    texts = [row[row != IGNORED][:-1] for row in labels]  # without the end of the answer
    with _original(model.language_model):
        states: Tensor = model.answer_states([embed(text) for text in texts], labels, packed=packed)
    return states


def has_text(labels: Tensor) -> Tensor:
    """Which of the M labels belong to an utterance with a text; predictions from an empty text are not learned."""
    inside = labels != IGNORED
    return (inside.sum(1, keepdim=True) > 1).expand_as(labels)[inside]


def require_steady_reader(policy: Mapping[str, str]) -> None:
    """Raise an `OptionError` where the language model's own weights are trained, since it is the teacher."""
    for part, chosen in policy.items():
        if part.split(".")[0] == "language_model" and isinstance(parse(chosen), TrainAll | TrainTop):
            raise OptionError(
                f"losses: distill: the teacher is the original language model, but freeze trains it ({part}: "
                f"{chosen}): use `frozen` or `lora(r=16)`."
            )


@contextmanager
def _original(module: nn.Module) -> Iterator[None]:
    """Temporarily disable a module's adapters and put it into `eval()`."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with without_lora(module):
            yield
    finally:
        for part, training in before:
            part.training = training


# --- another encoder-decoder model as teacher


def load_teacher(name: str, student: Any, tokenizer: Any) -> Any:
    """Load a frozen teacher for a student with this tokenizer, in the precision of its folder.

    Raises:
        OptionError: no name, or its type, features or vocabulary differ from the student's.
        ModelError: it cannot be loaded.
    """
    if not name:
        raise OptionError("losses: distill: name the `teacher`, a folder or Hub id; only fusion models need none.")
    ref = resolve(name)
    config = read_json(ref.path / "config.json")
    written = choose_dtype(stored_dtype(config), "cpu")[0]
    found = load_speech_model(ref, device="cpu", dtype=written)
    kinds = found.model.config.model_type, student.config.model_type
    if kinds[0] != kinds[1]:
        raise OptionError(f"losses: distill: the teacher {name} is a {kinds[0]} model, the student a {kinds[1]}.")
    for key in ("num_mel_bins", "max_source_positions"):
        values = getattr(found.model.config, key, None), getattr(student.config, key, None)
        if values[0] != values[1]:
            raise OptionError(
                f"losses: distill: the teacher {name} takes other features than the student: {key} {values[0]}, "
                f"not {values[1]}."
            )
    _require_same_vocabulary(name, found.tokenizer, tokenizer, found.model.config.vocab_size, student.config.vocab_size)
    freeze(found.model, {})
    return found.model.eval()


def _require_same_vocabulary(name: str, teacher: Any, student: Any, wide: int, narrow: int) -> None:
    theirs, ours = teacher.get_vocab(), student.get_vocab()
    if theirs == ours and wide == narrow:
        return
    odd = sorted(token for token in theirs.keys() | ours.keys() if theirs.get(token) != ours.get(token))
    example = f"; the first difference is {odd[0]!r}" if odd else ""
    raise OptionError(
        f"losses: distill: the teacher {name} has another vocabulary ({wide} tokens) than the student ({narrow}), so "
        f"their predictions cannot be compared{example}. A student made by `linnet models resize` keeps its teacher's."
    )
