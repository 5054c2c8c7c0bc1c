"""The freeze language: what is read, what is trained, what stays as it is, and how far the rest has gone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from linnet.errors import LinnetError, OptionError
from linnet.models.fusion.adapters import Lora, fold_lora, lora_layers
from linnet.training.freeze import FreezeAll, ParameterCount, TrainAll, TrainTop, WeightDrift, counts, freeze, parse

pytestmark = pytest.mark.usefixtures("quick")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.drop(self.norm(self.q_proj(x)))
        return out


class Encoder(nn.Module):
    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(5))  # a longer, smaller stack
        self.layers = nn.ModuleList(Block() for _ in range(layers))
        self.position = nn.utils.parametrizations.weight_norm(nn.Linear(20, 20, bias=False))  # also a list, and large

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = Encoder()
        self.projector = nn.Linear(4, 4)
        self.extra = nn.Parameter(torch.ones(7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.projector(self.encoder(x)) * self.extra.sum()
        return out


def trained(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


# --- reading


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("frozen", FreezeAll()),
        (" all ", TrainAll()),
        ("top:4", TrainTop(4)),
        ("top: 12", TrainTop(12)),
        ("lora", Lora()),
        ("lora()", Lora()),
        ("lora(r=8)", Lora(r=8)),
        (
            "lora( r = 8, alpha=16, dropout=0.05, targets=q_proj+v_proj )",
            Lora(r=8, alpha=16, dropout=0.05, targets=("q_proj", "v_proj")),
        ),
    ],
)
def test_policies_are_read(text: str, policy: object) -> None:
    assert parse(text) == policy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("frozn", r"unknown freeze policy 'frozn' \(did you mean 'frozen'\?\): expected frozen, all, top:4 or lora"),
        ("", "unknown freeze policy ''"),
        ("top", "unknown freeze policy 'top'"),
        ("top:0", "top must be a whole number of at least 1, got '0'"),
        ("top:-1", "got '-1'"),
        ("frozen:3", "unknown freeze policy 'frozen:3'"),
        ("lora(r=8", "missing closing parenthesis"),
        ("lora(rank=8)", "'rank=8' is not understood"),
        ("lora(alpa=8)", r"did you mean 'alpha'\?"),
        ("lora(r=8, r=9)", "'r=9' is not understood"),
        ("lora(r=eight)", "r must be a whole number of at least 1, got 'eight'"),
        ("lora(dropout=1.5)", "dropout must be from 0 to below 1, got '1.5'"),
    ],
)
def test_what_is_no_policy_is_said(text: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        parse(text)


@given(text=st.text(max_size=20))
def test_any_text_is_a_policy_or_a_clear_error(text: str) -> None:
    try:
        policy: object = parse(text)
    except OptionError as error:
        policy = error
    assert isinstance(policy, FreezeAll | TrainAll | TrainTop | Lora) or repr(text) in str(policy)


# --- what is trained


def test_frozen_parts_have_no_gradient_no_dropout_and_keep_their_statistics() -> None:
    model = Model()
    freeze(model, {"encoder": "frozen", "projector": "all"})
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    model.train()
    assert model.training
    assert model.projector.training
    assert not any(module.training for module in model.encoder.modules())
    x = torch.randn(6, 4)
    torch.testing.assert_close(model.encoder(x), model.encoder(x))
    model(x).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    assert {name for name, value in model.named_parameters() if value.grad is not None} == trained(model)
    assert trained(model) == {"projector.weight", "projector.bias"}, "what no part holds is frozen"
    assert not any(module.training for module in model.eval().modules())


def test_the_top_layers_are_those_of_the_largest_stack() -> None:
    model = Model()
    freeze(model, {"encoder": "top:2"})
    expected = {f"encoder.layers.{layer}.q_proj.{name}" for layer in (1, 2) for name in ("weight", "bias")}
    assert trained(model) == expected
    model.train()
    assert not any(block.norm.training for block in model.encoder.layers), "BatchNorms keep their statistics"
    assert [block.drop.training for block in model.encoder.layers] == [False, True, True]
    with pytest.raises(OptionError, match="encoder is top:9, and Encoder has 3 layers"):
        freeze(Model(), {"encoder": "top:9"})


def test_adapters_are_trained_beside_frozen_weights() -> None:
    model = Model()
    x = torch.randn(6, 4)
    expected = model.eval()(x).detach()
    freeze(model, {"encoder": Lora(r=2, targets=("q_proj",)), "projector": "frozen"})
    torch.testing.assert_close(model(x), expected)  # fresh adapters change nothing
    assert all("lora_" in name for name in trained(model))
    assert counts(model, ["encoder"])["encoder"].trained == 3 * 2 * 2 * 4
    model.train()
    assert not any(block.norm.training for block in model.encoder.layers)
    model(x).sum().backward()
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)
    with pytest.raises(OptionError, match="already has adapters"):
        freeze(model, {"encoder": "lora(r=2)"})
    fold_lora(model)
    assert not list(lora_layers(model))
    with pytest.raises(LinnetError, match="no linear layer named v_proj; it has 0, 1, 2, 3, 4, position, q_proj"):
        freeze(Model(), {"encoder": "lora(targets=v_proj)"})


def test_the_output_head_gets_no_adapter_and_options_are_noted_in_a_config_that_has_room() -> None:
    model = tiny_llama()
    model.config.adapters = None
    freeze(model, {"model": "frozen"})
    assert model.config.adapters is None
    whole: Any = nn.Module()
    whole.language_model, whole.config = model, model.config
    freeze(whole, {"language_model": "lora(r=4)"})
    assert model.config.adapters == {
        "language_model": {"r": 4, "alpha": 0, "dropout": 0.0, "targets": []},
    }
    names = {name for name, _ in lora_layers(whole)}
    assert "language_model.lm_head" not in names
    assert len(names) == 2 * 7


def test_trained_parts_are_float32_and_frozen_ones_stay_as_they_are() -> None:
    whole = Model().bfloat16()
    freeze(whole, {"encoder": "all"})
    assert whole.encoder.layers[0].norm.running_mean.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        whole.train()(torch.randn(6, 4)).sum().backward()
    model = Model().bfloat16()
    freeze(model, {"encoder": "lora(r=2)", "projector": "all"})
    dtypes = {name: value.dtype for name, value in model.named_parameters()}
    assert {dtypes[name] for name in trained(model)} == {torch.float32}
    assert {dtype for name, dtype in dtypes.items() if name not in trained(model)} == {torch.bfloat16}


def test_a_copy_is_as_frozen_as_the_model_and_does_not_touch_it() -> None:
    model = Model()
    freeze(model, {"projector": "all"})
    twin = copy.deepcopy(model)
    twin.train()
    assert twin.projector.training
    assert not twin.encoder.training
    assert model.train() is model
    model.eval()
    assert twin.projector.training


def test_parts_that_are_none_or_meet_are_refused() -> None:
    with pytest.raises(
        OptionError, match=r"Model has no part 'encodr' \(did you mean 'encoder'\?\); its parts are encoder, projector"
    ):
        freeze(Model(), {"encodr": "frozen"})
    with pytest.raises(OptionError, match=r"'encoder\.layers' is a part of 'encoder'"):
        freeze(Model(), {"encoder": "frozen", "encoder.layers": "all"})


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return LlamaForCausalLM(config)


def test_frozen_layers_are_recomputed_where_checkpointing_is_on() -> None:
    """The gradient through a frozen language model is the same, and its layers run twice."""
    whole: Any = nn.Module()
    whole.projector, whole.language_model = nn.Linear(3, 8), tiny_llama()
    freeze(whole, {"projector": "all", "language_model": "frozen"})
    calls: list[str] = []
    whole.language_model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append("mlp"))
    x = torch.randn(2, 5, 3)

    def gradient() -> torch.Tensor:
        whole.zero_grad()
        whole.train()
        calls.clear()
        whole.language_model(inputs_embeds=whole.projector(x), use_cache=False).logits.square().sum().backward()
        grad: torch.Tensor = whole.projector.weight.grad.clone()
        return grad

    plain = gradient()
    assert len(calls) == 1
    whole.language_model.activation_checkpointing_enable()
    torch.testing.assert_close(gradient(), plain)
    assert len(calls) == 2
    assert not whole.language_model.model.layers[0].mlp.training
    whole.language_model.eval()
    assert not any(module.training for module in whole.language_model.modules())


# --- counting and drifting


def test_parameters_are_counted_by_part_and_once() -> None:
    model = Model()
    model.encoder.layers[1].q_proj.weight = model.encoder.layers[0].q_proj.weight
    freeze(model, {"encoder": "top:1", "projector": "all"})
    block, norm = 4 * 4 + 4 + 4 + 4, 4 + 4
    assert counts(model, {"encoder": "top:1", "projector": "all"}) == {
        "encoder": ParameterCount(block - norm, 2 * block + norm - 4 * 4 + 5 * 4 + 20 + 400),
        "projector": ParameterCount(20, 0),
        "rest": ParameterCount(0, 7),
    }
    del model.extra
    assert set(counts(model, ["encoder", "projector"])) == {"encoder", "projector"}


def test_drift_is_the_relative_way_of_each_part() -> None:
    model = Model()
    parts = {"encoder": "lora(r=2, alpha=6, targets=q_proj)", "projector": "all"}
    freeze(model, parts)
    drift = WeightDrift(model, parts)
    assert drift.measure() == {"projector": 0.0, "encoder": 0.0}
    start = torch.cat([value.detach().flatten() for value in model.projector.parameters()])
    moved, whole = 0.0, 0.0
    with torch.no_grad():
        model.projector.weight.add_(0.5)
        for layer in model.encoder.layers:
            linear: Any = layer.q_proj
            up, down = linear.lora_B["default"].weight, linear.lora_A["default"].weight
            up.normal_()
            moved += float((3.0 * up @ down).square().sum())
            whole += float(linear.base_layer.weight.square().sum())
    found = drift.measure()
    assert found["projector"] == pytest.approx(float(0.5 * 16**0.5 / start.norm()), rel=1e-5)
    assert found["encoder"] == pytest.approx((moved / whole) ** 0.5, rel=1e-5)
