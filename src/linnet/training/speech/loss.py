"""The loss of a step: cross-entropy summed over label tokens, divided by their number in all batches of the step.

So a token weighs the same in a batch of few and of many, and eight utterances give one gradient, however they are
dealt out: in one batch, in two, or one by one.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from linnet.training.speech.inputs import IGNORED


class TokenLoss(nn.Module):
    """A speech model that answers with the summed cross-entropy of its labels."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._sums = model.config.model_type == "linnet_fusion"

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """A scalar in float32: the sum over all `labels` [B, L] that are not -100."""
        if self._sums:
            total: Tensor = self.model(**tensors, num_items_in_batch=1).loss
            return total
        given = {name: value for name, value in tensors.items() if name != "labels"}
        logits = self.model(**given).logits  # [B, L, V]
        return nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), tensors["labels"].flatten(), ignore_index=IGNORED, reduction="sum"
        )
