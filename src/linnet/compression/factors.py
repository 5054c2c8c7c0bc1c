"""Low-rank factors of a layer from the moments of its inputs or outputs: LiteASR's, and weighted by the Fisher
information.

Row vectors: y = x W + b, with x [D], W [D, O]. LiteASR takes the principal directions V of the outputs' covariance
(paper, equations 2 to 5): y' = x (W V) V^T + b', b' = mean + (b - mean) V V^T. Where an error e costs e G e^T with G =
L L^T, the same is done to y L: y' = x (W L V) (V^T L^-1) + b', the projector V V^T replaced by L V V^T L^-1. Both are
optimal for their measure, and lose the omitted eigenvalues.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linnet.compression.calibration import Measured
from linnet.models.lowrank.layers import Factors

RIDGE = 0.25  # share of the Fisher's mean diagonal, added to it: directions without gradients are not free


@dataclass(frozen=True, eq=False)
class Analysis:
    """A layer's outputs in their r principal directions.

    `energies` [r] of the directions, descending: variance, or Fisher loss if weighted. `prices` [r] are the Fisher loss
    of omitting each, or the energies without a Fisher. `back` [O, r] maps directions to outputs, and `into` [O, r]
    outputs to directions: G back, with the Fisher G [O, O] as weights, since back is L^-T V and into L V; the same
    without a Fisher. `weight` [O, D] of the layer, `bias` [O], and the measured `mean` [O] of outputs. Weight and
    Fisher are not copied: all of a model's are in memory at once.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    energies: Tensor
    prices: Tensor
    fisher: Tensor | None
    back: Tensor

    def factors(self, rank: int) -> Factors:
        """The best factors of this rank, in float64; the bias includes the mean of the omitted directions."""
        back, weight = self.back[:, :rank], self.weight.double()
        into = back if self.fisher is None else ridge(self.fisher.double()) @ back
        bias = self.mean + back @ (into.T @ (self.bias - self.mean))
        if self.fisher is None:  # orthonormal
            return Factors(into.T @ weight, back, bias)
        even, triangle = torch.linalg.qr(back)  # directions of equal length: for rounding, and for training
        return Factors(triangle @ into.T @ weight, even, bias)

    def loss(self, rank: int) -> float:
        """The loss of keeping only `rank` directions, in units of `prices`."""
        return float(self.prices[rank:].sum())

    def share_left(self, rank: int) -> float:
        """The omitted share of the energy."""
        return float(self.energies[rank:].sum() / self.energies.sum())


def analyze(layer: nn.Linear, measured: Measured, fisher: Tensor | None = None, *, weighted: bool = True) -> Analysis:
    """The principal directions of a layer's outputs.

    With the `fisher` [O, O] of its outputs they are those that affect the transcript most, or with `weighted=False`
    those of the variance, with prices from the Fisher.
    """
    weight = layer.weight.detach().double()
    bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else layer.bias.detach().double()
    root = _root(measured.covariance)  # [r, D] or [r, O]: root^T root is the covariance
    outputs = root @ weight.T if measured.side == "inputs" else root
    mean = measured.mean @ weight.T + bias if measured.side == "inputs" else measured.mean
    ridged = None if fisher is None else ridge(fisher.double())
    if ridged is None or not weighted:
        _, sizes, rows = torch.linalg.svd(outputs, full_matrices=False)
        back = rows.T
    else:
        lower = torch.linalg.cholesky(ridged)
        _, sizes, rows = torch.linalg.svd(outputs @ lower, full_matrices=False)
        back = torch.linalg.solve_triangular(lower.T, rows.T, upper=True)
    energies = sizes**2
    prices = energies
    if ridged is not None and not weighted:
        prices = energies * (back * (ridged @ back)).sum(0)
    used = fisher if weighted else None
    return Analysis(layer.weight.detach(), bias, mean, energies, prices, used, back)


def ridge(fisher: Tensor, share: float = RIDGE) -> Tensor:
    """The Fisher with a share of its mean diagonal added, so that no direction is free and it is invertible."""
    level = fisher.diagonal().mean()
    level = level if level > 0 else torch.ones((), dtype=fisher.dtype)
    return fisher + share * level * torch.eye(len(fisher), dtype=fisher.dtype)


def _root(covariance: Tensor) -> Tensor:
    """R [r, N] with R^T R = covariance, most important rows first."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0.0).sqrt()).T.flip(0)
    return root
