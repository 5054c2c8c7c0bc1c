"""Weights as whole numbers times scales, each rounded where it costs the least, and later weights making good for it.

The loss that errors e of a matrix W [O, D] cost is, to second order, half of sum_i f_i e_i' H e_i, with H = E[x x'] of
the inputs and f_i = E[g_i^2] of the loss's gradients at the outputs (K-FAC: Martens and Grosse 2015). Rounding column
after column, with the error of each carried over to those that follow (GPTQ: Frantar et al. 2023), leaves
sum_ij f_i d_j step_ij^2 / 12, with d_j the variance of input j given the inputs after it. Codes that are coded by their
frequency take log2(spread / step) bits and a constant each, so that for a given size the loss is smallest where
f_i d_j step_ij^2 is the same for all weights of the model: step_ij = c / sqrt(f_i d_j), and c alone sets the size. But
the statistics of a few recordings are noisy, and f_i d_j spreads so far that the finest columns would need more than a
byte: half of the spread, on a logarithmic scale, is heeded, step_ij = c / (f_i d_j)^(TRUST / 2) with TRUST = 0.5.
"""

# O outputs (rows), D inputs (columns)

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnet.models.packed import Codes

LARGEST = 127  # of a code
TRUST = 0.5
_BLOCK = 64  # columns after which the errors are carried over to all that follow at once


@dataclass(frozen=True)
class Matrix:
    """A weight to be rounded: `weight` of any shape [O, ...], `inputs` H [D, D] and `outputs` f [O], in float64."""

    weight: Tensor
    inputs: Tensor
    outputs: Tensor

    def damped(self, inputs: float, outputs: float) -> Matrix:
        """The same with H and f drawn to their means by these shares, against the noise of few recordings."""
        eye = torch.eye(len(self.inputs), dtype=self.inputs.dtype)
        hessian = self.inputs + inputs * self.inputs.diagonal().mean() * eye
        return Matrix(self.weight, hessian, self.outputs + outputs * self.outputs.mean())


def round_matrix(matrix: Matrix, step: float) -> Codes:
    """The codes of a matrix for the model's constant `step` (c above)."""
    flat = matrix.weight.reshape(len(matrix.weight), -1)
    factor = carry_over(matrix.inputs)
    rows, columns = _scales(flat, matrix.outputs, factor.diagonal(), step)
    values = round_columns(flat, rows, columns, factor)
    return Codes(_int8(values), _half(rows), _half(columns), tuple(matrix.weight.shape))


def expected_bits(matrix: Matrix, step: float) -> float:
    """About how many bits the codes take, for weights that are spread like a bell in each row.

    A bell of spread s has in steps t an entropy of log2(s / t) + log2(2 pi e) / 2 bits where t is small against s;
    where it is not, this says too little.
    """
    flat = matrix.weight.reshape(len(matrix.weight), -1)
    spread = flat.square().mean(1).clamp_min(1e-12).sqrt().log2() + TRUST * matrix.outputs.log2() / 2
    steps = TRUST * carry_over(matrix.inputs).diagonal().log2() + math.log2(step)
    bits = spread[:, None] - steps + math.log2(2 * math.pi * math.e) / 2
    return float(bits.sum())


def carry_over(hessian: Tensor) -> Tensor:
    """The upper triangular U [D, D] with H^-1 = U' U: row j says how the error of column j is carried over."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def round_columns(weight: Tensor, rows: Tensor, columns: Tensor, factor: Tensor) -> Tensor:
    """Whole numbers q [O, D] with q * rows * columns near the weight in the metric of H, as U = `factor` gives it."""
    left, codes = weight.clone(), torch.empty_like(weight)
    for begin in range(0, weight.shape[1], _BLOCK):
        end = min(begin + _BLOCK, weight.shape[1])
        errors = torch.empty(len(weight), end - begin, dtype=weight.dtype)
        for j in range(begin, end):
            step = rows * columns[j]
            codes[:, j] = (left[:, j] / step).round().clamp(-LARGEST, LARGEST)
            errors[:, j - begin] = (left[:, j] - codes[:, j] * step) / factor[j, j]
            left[:, j + 1 : end] -= torch.outer(errors[:, j - begin], factor[j, j + 1 : end])
        left[:, end:] -= errors @ factor[begin:end, end:]
    return codes


def _scales(weight: Tensor, outputs: Tensor, spread: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Row and column scales as float16 holds them; no column has more codes than there are."""
    rows, columns = step * outputs ** (-TRUST / 2), spread**TRUST
    middle = float(rows.log().mean().exp())  # rows about 1, so that float16 holds both well
    rows = rows.div(middle).to(torch.float16).to(weight.dtype)
    columns = torch.maximum(columns * middle, (weight / rows[:, None]).abs().amax(0) / (LARGEST - 1))
    return rows, columns.to(torch.float16).to(weight.dtype)


def _int8(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return values.to(torch.int8).numpy()


def _half(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    return values.to(torch.float16).numpy()
