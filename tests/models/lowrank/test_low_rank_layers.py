"""Low-rank layers: both forms against float64 twins, and when pivots are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from linnet.models.lowrank.layers import (
    Factors,
    Form,
    PairLinear,
    PivotLinear,
    is_low_rank,
    low_rank_layer,
    low_rank_linear,
    parameters_of,
    plan_of,
    replace_layers,
)


def random_factors(inputs: int, outputs: int, rank: int, *, bias: bool = True) -> Factors:
    generator = torch.Generator().manual_seed(inputs + 7 * outputs + 31 * rank)
    first, second = torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)
    return Factors(
        first.double(), second.double(), torch.randn(outputs, generator=generator).double() if bias else None
    )


@pytest.mark.parametrize("form", ["pair", "pivot"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs", "rank"), [(12, 20, 5), (20, 12, 11), (9, 9, 1), (6, 30, 6)])
def test_both_forms_compute_the_product(form: Form, bias: bool, inputs: int, outputs: int, rank: int) -> None:
    factors = random_factors(inputs, outputs, rank, bias=bias)
    layer = low_rank_layer(factors, form)
    assert (layer.form, layer.rank, layer.has_bias) == (form, rank, bias)
    x = torch.randn(4, 3, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    want = x @ (factors.second @ factors.first).T + (0 if factors.bias is None else factors.bias)
    torch.testing.assert_close(layer(x), want, rtol=1e-9, atol=1e-9)
    weight, own = layer.dense()
    torch.testing.assert_close(weight, factors.dense()[0], rtol=1e-9, atol=1e-9)
    if factors.bias is None:
        assert own is None
    else:
        assert own is not None
        torch.testing.assert_close(own, factors.bias, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_and_many_are_computed_alike(bias: bool) -> None:
    """Outputs are put in order for up to k rows, and the weight instead for more."""
    layer, x = low_rank_layer(random_factors(12, 20, 5, bias=bias), "pivot"), torch.randn(6, 12, dtype=torch.float64)
    many = layer(x)
    assert len(x) > layer.rank
    for row in range(6):
        torch.testing.assert_close(layer(x[row : row + 1])[0], many[row], rtol=1e-12, atol=1e-12)
    torch.autograd.gradcheck(layer, x.requires_grad_())


def test_a_half_that_is_wrapped_is_called() -> None:
    """Adapters take the place of the second half: the weight alone would leave them out."""
    layer: Any = low_rank_layer(random_factors(12, 20, 5), "pivot")
    plain, x = layer.rest, torch.randn(30, 12, dtype=torch.float64)
    want = layer(x)
    layer.rest = nn.Sequential(plain)
    torch.testing.assert_close(layer(x), want, rtol=1e-12, atol=1e-12)
    plain.weight.data.zero_()
    assert not torch.allclose(layer(x), want)


@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_a_layer_holds_the_weights_that_are_counted(form: Form) -> None:
    layer = low_rank_layer(random_factors(12, 20, 5, bias=False), form)
    assert sum(value.numel() for value in layer.parameters()) == parameters_of(12, 20, 5, form)


def test_pivots_are_rows_of_the_dense_weight() -> None:
    factors = random_factors(12, 20, 5)
    layer = low_rank_layer(factors, "pivot")
    assert isinstance(layer, PivotLinear)
    places = [int((layer.order == at).nonzero()) for at in range(5)]
    torch.testing.assert_close(layer.first.weight, factors.dense()[0][places], rtol=1e-9, atol=1e-9)
    assert sorted(layer.order.tolist()) == list(range(20))
    assert layer.rest.weight.abs().max() < 3  # pivots are chosen so that the others are small combinations of them


def test_pivots_that_do_not_carry_the_rest_make_a_pair() -> None:
    factors = random_factors(12, 20, 5)
    degenerate = factors.second.clone()
    degenerate[:, 4] = degenerate[:, 3]  # rank 4
    assert isinstance(low_rank_layer(Factors(factors.first, degenerate, None), "pivot"), PairLinear)
    assert isinstance(low_rank_layer(random_factors(12, 8, 8), "pivot"), PairLinear)


@pytest.mark.parametrize("rank", [0, 9])
def test_a_rank_that_does_not_fit_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"rank {rank} does not fit a layer of 8 inputs and 12 outputs"):
        low_rank_linear(8, 12, rank, "pair")


def test_a_plan_names_what_was_replaced() -> None:
    model = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))
    assert not is_low_rank(model)
    replace_layers(model, {"2": low_rank_layer(random_factors(20, 12, 3, bias=False), "pivot")})
    assert is_low_rank(model)
    assert plan_of(model) == {"2": {"rank": 3, "form": "pivot", "bias": False}}
    with pytest.raises(AttributeError):
        replace_layers(model, {"9": nn.Identity()})
