"""The loss of a batch, summed over label tokens; the trainer divides by their number in all batches of a step.

So every token has the same weight, and the gradient does not depend on how utterances are split into batches.

Shapes: B utterances, L label tokens, M labels with loss, D width of the decoder, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutput

from linnet.errors import OptionError
from linnet.training.batch import IGNORED
from linnet.training.speech.alignment import RowAlignment
from linnet.training.speech.ctc import CtcHead, frames_of
from linnet.training.speech.distillation import TeacherTargets, divergence, has_text, text_states
from linnet.training.speech.recipe import Losses

LOGITS = 2**27  # maximum computed at once: half a gigabyte in float32
DEFAULT = Losses()
CACHED = ("frames", "frame_counts")  # cached encoder frames instead of audio
SPELLED = ("characters", "samples")  # for a CTC head


class FusionLoss(nn.Module):
    """A fusion model that returns the parts of its loss, weighted and summed over label tokens.

    Too many logits are computed in chunks and recomputed for the gradient. Some language models process logits after
    the output head: this is tested on the first utterance, and their own loss is used. Tests run in the first batch, so
    that all processes run them together.
    """

    def __init__(
        self,
        model: Any,
        options: Losses = DEFAULT,
        *,
        ctc: CtcHead | None = None,
        alignment: RowAlignment | None = None,
        packed: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.options, self.packed = model, options, packed
        self.ctc, self.alignment = ctc, alignment
        self._head_is_all: bool | None = None  # not tested yet
        self._apart = not packed  # whether packed utterances are known to be independent

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars in float32: `text`, the cross-entropy of `labels` [B, L], and `distill`, `ctc` and `alignment` if
        set."""
        labels = tensors["labels"]
        frames = encoder_frames(self.model, tensors)
        rows: list[Tensor] | None = None
        if self.options.text or self.options.distill is not None:
            rows, sums = self._read(frames, tensors)
        else:
            sums = labels.new_zeros(1, dtype=torch.float32)
        parts = {**weighted(self.options, sums), **spelling(self.options, self.ctc, frames, tensors)}
        if self.alignment is None or self.options.alignment is None:
            return parts
        labeled = (labels != IGNORED).any(1)
        losses = self.alignment.losses(self.model.project(frames) if rows is None else rows, labels)
        return {**parts, "alignment": self.options.alignment.weight * (losses * labeled).sum()}

    def _read(self, frames: list[Tensor], tensors: dict[str, Tensor]) -> tuple[list[Tensor] | None, Tensor]:
        """The rows of the clips (None if only the model's own loss is used), and the `token_sums` of the answers."""
        labels = tensors["labels"]
        if self._head_is_all is None:
            self._head_is_all = self._try({name: value[:1] for name, value in tensors.items()})
        if self._head_is_all is False:
            return None, self._own_loss(frames, labels)[None]
        lesson = None
        if self.options.distill is not None:
            lesson = TeacherTargets(
                text_states(self.model, labels, packed=self.packed), has_text(labels), self.options.distill.temperature
            )
        rows = self.model.project(frames)
        if not self._apart:
            self._require_apart([rows[0].detach(), rows[-1].detach()], labels[[0, -1]])
        return rows, self._sums(rows, labels, lesson)

    def _sums(self, rows: list[Tensor], labels: Tensor, lesson: TeacherTargets | None = None) -> Tensor:
        states = self.model.answer_states(rows, labels, packed=self.packed)
        return token_sums(states, labels[labels != IGNORED], self.model.get_output_embeddings(), lesson)

    def _own_loss(self, frames: list[Tensor], labels: Tensor) -> Tensor:
        total: Tensor = self.model(frames=frames, labels=labels, num_items_in_batch=1).loss
        return total

    @torch.no_grad()
    def _try(self, tensors: dict[str, Tensor]) -> bool:
        """Whether both computations agree within bfloat16 precision.

        Raises `OptionError` where they differ and logits are needed for other losses.
        """
        training = self.training
        self.eval()
        labels = tensors["labels"].clamp(min=0)  # any label will do
        frames = encoder_frames(self.model, tensors)
        one, other = self._sums(self.model.project(frames), labels)[0], self._own_loss(frames, labels)
        self.train(training)
        same = bool(torch.isclose(one, other, rtol=0.02, atol=0.02))
        if not same and (self.options.distill is not None or self.packed):
            kind, asked = self.model.config.text_config.model_type, "packed" if self.packed else "distill"
            raise OptionError(
                f"{asked}: a {kind} language model processes its logits after the output head: leave {asked} out."
            )
        return same

    @torch.no_grad()
    def _require_apart(self, rows: list[Tensor], labels: Tensor) -> None:
        """Raise an `OptionError` where packed utterances affect each other."""
        training = self.training
        self.eval()
        labels = labels.clamp(min=0)
        one, other = (self.model.answer_states(rows, labels, packed=packed) for packed in (False, True))
        self.train(training)
        if float((one - other).norm()) > 0.1 * float(one.norm()):
            kind = self.model.config.text_config.model_type
            raise OptionError(
                f"data: batching: packed: a {kind} language model does not separate packed utterances: leave "
                "`packed` out."
            )
        self._apart = True


def encoder_frames(model: Any, tensors: dict[str, Tensor]) -> list[Tensor]:
    """The encoder frames [T, d] of each clip of a batch, from the cache or computed now."""
    if "frames" not in tensors:
        made: list[Tensor] = model.encode_audio(tensors["input_values"], tensors.get("attention_mask"))
        return made
    counts = tensors["frame_counts"].tolist()
    return [clip[:count] for clip, count in zip(tensors["frames"], counts, strict=True)]


class Seq2SeqLoss(nn.Module):
    """An encoder-decoder model that returns the parts of its loss, weighted and summed over labels.

    A `teacher` is a frozen model with the same inputs and vocabulary.
    """

    def __init__(
        self, model: Any, options: Losses = DEFAULT, *, teacher: Any = None, ctc: CtcHead | None = None
    ) -> None:
        super().__init__()
        self.model, self.options, self.teacher, self.ctc = model, options, teacher, ctc

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars in float32: `text`, the cross-entropy of `labels` [B, L], `distill` and `ctc` if set.

        Cached `frames` [B, T, d] may be given instead of audio.
        """
        given = {name: value for name, value in tensors.items() if name not in ("labels", *CACHED, *SPELLED)}
        if "frames" in tensors:
            given["encoder_outputs"] = BaseModelOutput(last_hidden_state=tensors["frames"])
        inside = tensors["labels"] != IGNORED
        lesson = None if self.options.distill is None else self._lesson(given, inside, self.options.distill.temperature)
        output = self.model(**given)
        sums = token_sums(output.logits[inside], tensors["labels"][inside], nn.Identity(), lesson)  # of [M, V]
        frames: list[Tensor] = []
        if self.ctc is not None:
            clips = zip(output.encoder_last_hidden_state, tensors["samples"].tolist(), strict=True)
            frames = [clip[: frames_of(self.model)(samples)] for clip, samples in clips]
        return {**weighted(self.options, sums), **spelling(self.options, self.ctc, frames, tensors)}

    @torch.no_grad()
    def _lesson(self, given: dict[str, Tensor], inside: Tensor, temperature: float) -> TeacherTargets:
        fitting = {
            name: value.to(self.teacher.dtype) if value.is_floating_point() else value for name, value in given.items()
        }
        logits = self.teacher(**fitting).logits[inside]
        return TeacherTargets(logits, torch.ones(len(logits), dtype=torch.bool, device=logits.device), temperature)


def weighted(options: Losses, sums: Tensor) -> dict[str, Tensor]:
    """The parts by name, of the sums of `token_sums`."""
    parts = {"text": options.text * sums[0]}
    return parts if options.distill is None else {**parts, "distill": options.distill.weight * sums[1]}


def spelling(
    options: Losses, head: CtcHead | None, frames: list[Tensor], tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The part `ctc` of a batch with encoder `frames` [T, d] of each clip; empty without a head.

    Silence in place of unreadable audio has no labels and no loss.
    """
    if head is None or options.ctc is None:
        return {}
    labeled = (tensors["labels"] != IGNORED).any(1)
    return {"ctc": options.ctc.weight * (head.losses(frames, tensors["characters"]) * labeled).sum()}


def token_sums(states: Tensor, labels: Tensor, head: nn.Module, lesson: TeacherTargets | None = None) -> Tensor:
    """The summed cross-entropy of labels [M], and with a lesson the summed divergence from it.

    `head` maps states [M, D] to logits [M, V]. At most `LOGITS` of them exist at once; beyond that they are recomputed.
    """

    def piece(some: Tensor, targets: Tensor, *taught: Tensor) -> Tensor:
        logits = head(some).float()
        sums = [nn.functional.cross_entropy(logits, targets, reduction="sum")]
        if lesson is not None:
            with torch.no_grad():
                theirs = head(taught[0])
            sums.append((divergence(logits, theirs, lesson.temperature) * taught[1]).sum())
        return torch.stack(sums)

    rows: Sequence[Tensor] = (states, labels) if lesson is None else (states, labels, lesson.states, lesson.counted)
    vocabulary = getattr(head, "out_features", states.shape[1])
    size = max(1, LOGITS // (vocabulary * len(rows) // 2))
    if len(labels) <= size:
        return piece(*rows)
    pieces = zip(*(torch.split(row, size) for row in rows), strict=True)
    return torch.stack([checkpoint(piece, *some, use_reentrant=False) for some in pieces]).sum(0)
