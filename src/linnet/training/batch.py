"""A training batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

IGNORED = -100  # a label without loss


@dataclass(frozen=True, eq=False)
class Batch:
    """The tensors of a batch (including `labels` [B, L]), the ids and seconds of its utterances, and those skipped.

    `padded` are the seconds of all rows with padding, `used` the planned share of the batch budget (None without one),
    `slots` the label positions with padding (None: as many as `labels`). If no audio could be read, the batch is
    silence without labels.
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
        """The number of label tokens."""
        return int((self.tensors["labels"] != IGNORED).sum())


def tensors_to(tensors: dict[str, Tensor], device: Any) -> dict[str, Tensor]:
    """The tensors on a device."""
    return {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
