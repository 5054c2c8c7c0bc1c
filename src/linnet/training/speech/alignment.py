"""A loss for the projector alone: CTC of its rows against the language model's token embeddings.

A row should match the embedding of the token spoken in it, or a learned blank. Rows are scored against the embeddings
of all tokens of the training texts (scaled cosine), and CTC (Graves et al. 2006) sums over all alignments. No layer of
the language model runs, so a step is cheap, and the language model later starts from rows that resemble text. Only the
projector's weights are saved; blank and scale are relearned.

Shapes: B clips, N rows, D width of the language model, K tokens of the training texts, L labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from linnet.errors import OptionError
from linnet.training.batch import IGNORED

SCALE = 20.0  # initial scale of cosines


class RowAlignment(nn.Module):
    """The loss of rows against `table` [K, D], the embeddings of `tokens`; output 0 is the blank."""

    table: Tensor
    numbers: Tensor

    def __init__(self, table: Tensor, tokens: Sequence[int], vocabulary: int) -> None:
        super().__init__()
        numbers = torch.zeros(vocabulary, dtype=torch.long)
        numbers[torch.tensor(tokens)] = torch.arange(1, len(tokens) + 1)
        self.register_buffer("table", nn.functional.normalize(table.detach().float(), dim=1), persistent=False)
        self.register_buffer("numbers", numbers, persistent=False)
        self.blank = nn.Parameter(nn.functional.normalize(torch.randn(table.shape[1]), dim=0))
        self.scale = nn.Parameter(torch.tensor(SCALE).log())

    def forward(self, rows: Tensor) -> Tensor:
        """Log-probabilities [..., 1 + K] in float32 of rows [..., D]."""
        outputs = torch.cat([nn.functional.normalize(self.blank, dim=0)[None], self.table])
        cosines = nn.functional.normalize(rows, dim=-1) @ outputs.to(rows.dtype).T
        return torch.log_softmax(self.scale.exp() * cosines.float(), -1)

    def losses(self, rows: Sequence[Tensor], labels: Tensor) -> Tensor:
        """-log p(text | rows) [B] of clips with `rows` [N, D] and `labels` [B, L], end last, padded with -100.

        Zero for a clip with fewer rows than its tokens need.
        """
        log_probs = self(pad_sequence(list(rows), batch_first=True)).transpose(0, 1)
        counts = (labels != IGNORED).sum(1)
        inside = torch.arange(labels.shape[1], device=labels.device) < (counts - 1)[:, None]
        lengths = torch.tensor([len(clip) for clip in rows], device=log_probs.device)
        return nn.functional.ctc_loss(
            log_probs, self.numbers[labels[inside]], lengths, inside.sum(1), reduction="none", zero_infinity=True
        )


def make_alignment(model: Any, texts: Iterable[Sequence[int]]) -> RowAlignment:
    """The loss for a fusion model and the label tokens of its training texts, with end tokens."""
    tokens = sorted({token for text in texts for token in text[:-1]})
    if not tokens:
        raise OptionError("losses: alignment: the training texts have no tokens to align.")
    table = model.get_input_embeddings().weight
    return RowAlignment(table[torch.tensor(tokens)], tokens, len(table))
