"""A batch on its way from the data to the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

IGNORED = -100  # a label without loss


@dataclass(frozen=True, eq=False)
class Batch:
    """The tensors of a batch (`labels` [B, L] among them), its utterances' ids and seconds, and what was left out.

    `padded` are the seconds of all its rows with their padding, `used` the share of a batch's budget that it was
    planned to take (None where batches have no budget), `slots` the places of its labels with their padding (None: as
    many as `labels` has). Where no sound of it could be read it is silence without a
    label.
    """

    tensors: dict[str, Tensor]
    ids: list[str]
    seconds: list[float]
    padded: float
    lost: list[str]
    used: float | None = None
    slots: int | None = None

    @property
    def tokens(self) -> int:
        """Label tokens, which have loss."""
        return int((self.tensors["labels"] != IGNORED).sum())


def tensors_to(tensors: dict[str, Tensor], device: Any) -> dict[str, Tensor]:
    """The same on a device."""
    return {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
