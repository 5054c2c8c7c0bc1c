"""Rounding in the metric of the inputs: against a slow twin in float64, and against rounding each weight by itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recipes.english.rounding import LARGEST, Matrix, carry_over, expected_bits, round_columns, round_matrix


def problem(outputs: int = 40, inputs: int = 150, *, seed: int = 0) -> tuple[Matrix, Tensor]:
    """A matrix whose inputs are correlated and of unlike size, and those inputs."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) / math.sqrt(4 * inputs)
    mixing += torch.eye(inputs, dtype=torch.float64)
    x = torch.randn(4 * inputs, inputs, generator=generator, dtype=torch.float64) @ mixing
    x *= torch.logspace(-0.3, 0.3, inputs, dtype=torch.float64)
    weight = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
    felt = torch.logspace(-0.5, 0.5, outputs, dtype=torch.float64)
    return Matrix(weight, x.T @ x / len(x), felt).damped(0.01, 0.0), x


def loss(matrix: Matrix, rounded: Tensor) -> float:
    errors = matrix.weight - rounded
    return float((matrix.outputs * torch.einsum("od,de,oe->o", errors, matrix.inputs, errors)).sum())


def test_the_columns_are_those_of_a_slow_twin() -> None:
    """The twin solves anew, for each column, for the later weights that make good best for the errors so far."""
    matrix, _ = problem(8, 90)
    rows = torch.linspace(0.5, 2, 8, dtype=torch.float64)
    columns = torch.linspace(0.2, 0.4, 90, dtype=torch.float64)
    left, twin = matrix.weight.clone(), torch.empty_like(matrix.weight)
    for j in range(90):
        step = rows * columns[j]
        twin[:, j] = (left[:, j] / step).round().clamp(-LARGEST, LARGEST)
        error = left[:, j] - twin[:, j] * step
        later = matrix.inputs[j + 1 :, j + 1 :]
        if len(later):
            left[:, j + 1 :] += torch.outer(error, torch.linalg.solve(later, matrix.inputs[j + 1 :, j]))
    found = round_columns(matrix.weight, rows, columns, carry_over(matrix.inputs))
    assert torch.equal(found, twin)


@pytest.mark.parametrize("step", [0.1, 0.3])
def test_the_loss_is_what_the_steps_say(step: float) -> None:
    """A weight costs f_i d_j step_ij^2 / 12, with d_j the variance of input j that the inputs after it leave."""
    matrix, _ = problem()
    codes = round_matrix(matrix, step)
    rounded = torch.from_numpy(codes.weights()).double()
    left = [float(1 / torch.linalg.inv(matrix.inputs[j:, j:])[0, 0]) for j in range(len(matrix.inputs))]
    rows, columns = torch.from_numpy(codes.rows).double(), torch.from_numpy(codes.columns).double()
    felt = matrix.outputs[:, None] * torch.tensor(left, dtype=torch.float64)
    expected = float((felt * (rows[:, None] * columns).square()).sum()) / 12
    assert loss(matrix, rounded) == pytest.approx(expected, rel=0.1)


def test_it_beats_rounding_each_weight_by_itself_at_the_same_number_of_bits() -> None:
    matrix, _ = problem()
    codes = round_matrix(matrix, 0.2)
    entropy = _entropy(torch.from_numpy(codes.values))
    scale = matrix.weight.abs().amax(1, keepdim=True)
    levels = next(n for n in range(2, 200) if _entropy((matrix.weight / scale * n).round()) >= entropy)
    nearest = (matrix.weight / scale * levels).round() * scale / levels
    assert loss(matrix, torch.from_numpy(codes.weights()).double()) < 0.6 * loss(matrix, nearest)


def test_no_code_is_larger_than_a_byte_holds() -> None:
    matrix, _ = problem()
    codes = round_matrix(matrix, 1e-4)  # far finer than bytes allow
    assert abs(codes.values.astype(int)).max() <= LARGEST
    rounded = torch.from_numpy(codes.weights()).double()
    assert loss(matrix, rounded) < 1e-3 * loss(matrix, torch.zeros_like(rounded))


def test_the_bits_are_foreseen() -> None:
    matrix, _ = problem(400, 60)
    found = _entropy(torch.from_numpy(round_matrix(matrix, 0.1).values)) * 60 * 400
    assert expected_bits(matrix, 0.1) == pytest.approx(found, rel=0.1)


def test_a_convolution_keeps_its_shape() -> None:
    matrix, _ = problem(8, 30)
    shaped = Matrix(matrix.weight.reshape(8, 10, 3), matrix.inputs, matrix.outputs)
    found = round_matrix(shaped, 0.1).weights()
    assert found.shape == (8, 10, 3)
    assert (found.reshape(8, 30) == round_matrix(matrix, 0.1).weights()).all()


def _entropy(codes: Tensor) -> float:
    """Bits of a code in each column by itself, on the mean."""
    total = 0.0
    for column in codes.T.double():
        shares = column.unique(return_counts=True)[1] / len(column)
        total -= float((shares * shares.log2()).sum())
    return total / codes.shape[1]
