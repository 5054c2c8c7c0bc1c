"""How far a changed model's predictions are from the dense model's, on windows that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor

from linnet.compression.subject import Example, Subject

MOST = 24  # windows: the dense predictions of each are kept, some megabytes


class HeldOut:
    """The dense model's predictions at each place of its own transcripts, to measure others against."""

    @torch.no_grad()
    def __init__(self, subject: Subject, examples: Iterable[Example]) -> None:
        """The examples have their transcripts, and the model is still dense."""
        self._subject = subject
        self.examples = list(islice(examples, MOST))
        self._dense = [subject.logits(one).log_softmax(-1) for one in self.examples]

    @property
    def places(self) -> int:
        """Predictions that are compared."""
        return sum(len(one) for one in self._dense)

    @torch.no_grad()
    def divergence(self) -> float:
        """KL(dense || the model as it is now) in nats, the mean over all predictions."""
        total = 0.0
        for example, dense in zip(self.examples, self._dense, strict=True):
            total += float(divergences(self._subject.logits(example), dense).sum())
        return total / max(self.places, 1)


def divergences(logits: Tensor, dense: Tensor) -> Tensor:
    """KL(dense || said) of each of L predictions, from logits [L, V] and the dense log-probabilities [L, V]."""
    said = logits.log_softmax(-1)
    return torch.nn.functional.kl_div(said, dense, log_target=True, reduction="none").sum(-1)
