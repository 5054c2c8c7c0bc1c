"""The divergence of a changed model's predictions from the dense model's, on held-out windows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor

from linnet.compression.subject import Example, Subject

MOST = 24  # windows: the dense predictions of each are kept, some megabytes


class HeldOut:
    """The dense model's predictions at each position of its own transcripts, for comparison."""

    @torch.no_grad()
    def __init__(self, subject: Subject, examples: Iterable[Example]) -> None:
        """The examples have their transcripts; the model must be dense."""
        self._subject = subject
        self.examples = list(islice(examples, MOST))
        self._dense = [subject.logits(one).log_softmax(-1) for one in self.examples]

    @property
    def places(self) -> int:
        """The number of compared predictions."""
        return sum(len(one) for one in self._dense)

    @torch.no_grad()
    def divergence(self) -> float:
        """The mean KL(dense || current model) in nats over all predictions."""
        total = 0.0
        for example, dense in zip(self.examples, self._dense, strict=True):
            total += float(divergences(self._subject.logits(example), dense).sum())
        return total / max(self.places, 1)


def divergences(logits: Tensor, dense: Tensor) -> Tensor:
    """KL(dense || current) of each of L predictions, from logits [L, V] and dense log-probabilities [L, V]."""
    said = logits.log_softmax(-1)
    return torch.nn.functional.kl_div(said, dense, log_target=True, reduction="none").sum(-1)
