"""Factors against slow twins in float64: the published method on raw activations, and the loss that they minimize."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from linnet.compression.calibration import Measured, Moments
from linnet.compression.factors import analyze, ridge
from linnet.models.lowrank.layers import Factors

FRAMES = 400


def setting(inputs: int, outputs: int, *, bias: bool = True, seed: int = 0) -> tuple[nn.Linear, Tensor]:
    """A layer, and what it reads: frames of decaying spread around a mean far from 0."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64).requires_grad_(False)
    for value in layer.parameters():
        value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64))
    scales = 0.8 ** torch.arange(inputs, dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(inputs, inputs, generator=generator, dtype=torch.float64))[0]
    frames = torch.randn(FRAMES, inputs, generator=generator, dtype=torch.float64) * scales @ mixing + 3.0
    return layer, frames


def measured(layer: nn.Linear, frames: Tensor, side: str) -> Measured:
    """The moments of one side, added in three blocks."""
    rows = frames if side == "inputs" else layer(frames)
    moments = Moments(rows.shape[1])
    for block in torch.split(rows, FRAMES // 3):
        moments.add(block)
    return Measured(side, moments.count, moments.mean, moments.covariance)  # type: ignore[arg-type]


def published(layer: nn.Linear, frames: Tensor, rank: int) -> Factors:
    """LiteASR by its paper: SVD of the centered outputs of all frames, equations 2 to 5."""
    outputs = layer(frames)
    mean = outputs.mean(0)
    _, _, directions = torch.linalg.svd(outputs - mean, full_matrices=False)
    kept = directions[:rank].T  # V_k
    bias = torch.zeros(layer.out_features, dtype=torch.float64) if layer.bias is None else layer.bias
    return Factors((layer.weight.T @ kept).T, kept, mean + (bias - mean) @ kept @ kept.T)


def apply(factors: Factors, frames: Tensor) -> Tensor:
    weight, bias = factors.dense()
    assert bias is not None
    return frames @ weight.T + bias


def test_moments_are_those_of_all_rows_at_once() -> None:
    rows = torch.randn(90, 7, dtype=torch.float64) + 1e4  # a mean that would eat digits
    moments = Moments(7)
    for block in torch.split(rows, 25):
        moments.add(block)
    assert torch.allclose(moments.mean, rows.mean(0), rtol=1e-14)
    assert torch.allclose(moments.covariance, torch.cov(rows.T, correction=0), atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs", "side"), [(12, 12, "inputs"), (12, 30, "inputs"), (30, 12, "outputs")])
def test_equals_the_published_method_on_raw_activations(inputs: int, outputs: int, side: str, bias: bool) -> None:
    layer, frames = setting(inputs, outputs, bias=bias)
    analysis = analyze(layer, measured(layer, frames, side))
    for rank in (1, 4, 9):
        ours, theirs = analysis.factors(rank), published(layer, frames, rank)
        for made, wanted in zip(ours.dense(), theirs.dense(), strict=True):
            assert torch.allclose(made, wanted, atol=1e-8)  # type: ignore[arg-type]
        assert torch.allclose(apply(ours, frames), apply(theirs, frames), atol=1e-8)
        signs = (ours.second * theirs.second).sum(0).sign()  # a direction may be turned round
        assert torch.allclose(ours.second * signs, theirs.second, atol=1e-8)
        assert torch.allclose(ours.first * signs[:, None], theirs.first, atol=1e-7)


@pytest.mark.parametrize("weighted", [True, False])
def test_full_rank_is_the_dense_layer(weighted: bool) -> None:
    layer, frames = setting(12, 20)
    fisher = torch.cov(torch.randn(20, 50, dtype=torch.float64))
    factors = analyze(layer, measured(layer, frames, "inputs"), fisher, weighted=weighted).factors(12)
    assert torch.allclose(apply(factors, frames), layer(frames), atol=1e-9)


def test_variance_left_out_is_the_error_and_the_rest_of_the_eigenvalues() -> None:
    layer, frames = setting(12, 30)
    analysis = analyze(layer, measured(layer, frames, "inputs"))
    for rank in (2, 7):
        error = (apply(analysis.factors(rank), frames) - layer(frames)).square().sum(1).mean()
        assert error.item() == pytest.approx(analysis.loss(rank), rel=1e-9)
        variance = layer(frames).var(0, correction=0).sum()
        assert analysis.share_left(rank) == pytest.approx(float(error / variance), rel=1e-9)


@pytest.mark.parametrize(("inputs", "outputs", "side"), [(12, 30, "inputs"), (30, 12, "outputs")])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_price_is_what_the_error_costs_in_fisher(inputs: int, outputs: int, side: str, weighted: bool) -> None:
    layer, frames = setting(inputs, outputs)
    fisher = torch.cov(
        torch.randn(outputs, 3 * outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    analysis = analyze(layer, measured(layer, frames, side), fisher, weighted=weighted)
    error = apply(analysis.factors(5), frames) - layer(frames)
    cost = ((error @ ridge(fisher)) * error).sum(1).mean()
    assert cost.item() == pytest.approx(analysis.loss(5), rel=1e-8)


def test_weighted_factors_cost_least_of_all() -> None:
    """No other factors of the rank cost less in Fisher: neither those of the variance nor any near by."""
    layer, frames = setting(10, 16)
    fisher = torch.diag((10.0 ** -torch.arange(16, dtype=torch.float64)).flip(0))
    moments = measured(layer, frames, "inputs")
    best = analyze(layer, moments, fisher)
    plain = analyze(layer, moments, fisher, weighted=False)
    assert best.loss(4) < plain.loss(4)
    metric, generator = ridge(fisher), torch.Generator().manual_seed(2)
    factors = best.factors(4)
    for _ in range(20):
        moved = Factors(
            factors.first + 1e-3 * torch.randn(factors.first.shape, generator=generator, dtype=torch.float64),
            factors.second + 1e-3 * torch.randn(factors.second.shape, generator=generator, dtype=torch.float64),
            factors.bias,
        )
        error = apply(moved, frames) - layer(frames)
        assert ((error @ metric) * error).sum(1).mean() > best.loss(4)


def test_a_layer_that_no_gradient_reached_is_still_factored() -> None:
    layer, frames = setting(12, 12)
    analysis = analyze(layer, measured(layer, frames, "inputs"), torch.zeros(12, 12, dtype=torch.float64))
    plain = analyze(layer, measured(layer, frames, "inputs"))
    assert torch.allclose(apply(analysis.factors(4), frames), apply(plain.factors(4), frames), atol=1e-8)
