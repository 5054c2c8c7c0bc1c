"""The loss of a step: cross-entropy summed over label tokens, divided by their number in all batches of the step.

So a token weighs the same in a batch of few and of many, and eight utterances give one gradient, however they are
dealt out: in one batch, in two, or one by one.

Shapes: B utterances, L label tokens, M labels with loss, D width of the decoder, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from linnet.training.batch import IGNORED

LOGITS = 2**27  # at most so many at once: half a gigabyte in float32


class TokenLoss(nn.Module):
    """A speech model that answers with the summed cross-entropy of its labels.

    The logits of a fusion model are made in pieces, and made again for the gradient, where they are too many. A few
    language models do more to them than their output head: that is tried on the first utterance, and those tell their
    loss themselves.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._fusion = model.config.model_type == "linnet_fusion"
        self._in_pieces: bool | None = None  # not tried yet

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """`text`, a scalar in float32: the sum over all `labels` [B, L] that are not -100."""
        return {"text": self._text(tensors)}

    def _text(self, tensors: dict[str, Tensor]) -> Tensor:
        if self._fusion:
            if self._in_pieces is None and bool((tensors["labels"][:1] != IGNORED).any()):
                self._in_pieces = self._head_is_all({name: value[:1] for name, value in tensors.items()})
            return self._pieces(tensors) if self._in_pieces else self._told(tensors)
        given = {name: value for name, value in tensors.items() if name != "labels"}
        logits = self.model(**given).logits  # [B, L, V]
        return nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), tensors["labels"].flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def _pieces(self, tensors: dict[str, Tensor]) -> Tensor:
        labels = tensors["labels"]
        rows = self.model.embed_audio(tensors["input_values"], tensors.get("attention_mask"))
        states = self.model.answer_states(rows, labels)
        return summed_cross_entropy(states, labels[labels != IGNORED], self.model.get_output_embeddings())

    def _told(self, tensors: dict[str, Tensor]) -> Tensor:
        total: Tensor = self.model(**tensors, num_items_in_batch=1).loss
        return total

    @torch.no_grad()
    def _head_is_all(self, tensors: dict[str, Tensor]) -> bool:
        """Whether both ways give one loss, within the precision of bfloat16."""
        training = self.training
        self.eval()
        one, other = self._pieces(tensors), self._told(tensors)
        self.train(training)
        return bool(torch.isclose(one, other, rtol=0.02, atol=0.02))


def summed_cross_entropy(states: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """The cross-entropy of labels [M] summed, where `head`, a linear layer, makes logits [M, V] of states [M, D].

    Never more than `LOGITS` of them are there at once, at the price of making them twice.
    """

    def piece(some: Tensor, told: Tensor) -> Tensor:
        return nn.functional.cross_entropy(head(some).float(), told, reduction="sum")

    vocabulary: Any = head.weight
    size = max(1, LOGITS // len(vocabulary))
    if len(labels) <= size:
        return piece(states, labels)
    pieces = zip(torch.split(states, size), torch.split(labels, size), strict=True)
    return torch.stack([checkpoint(piece, *both, use_reentrant=False) for both in pieces]).sum()
