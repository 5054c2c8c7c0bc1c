"""The torch engine against Transformers' forward pass and against slow twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from linnet.engines.torch import TorchEngine, decoder
from linnet.engines.torch.ops import Product, attend, fused, has_onednn, product
from linnet.models.whisper import load_whisper
from tests.support.tiny_whispers import POSITIONS, random_features, save_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("engine"), seed=1)


@pytest.fixture(scope="module")
def engine(folder: Path) -> TorchEngine:
    return TorchEngine(load_whisper(folder, name="t", device="cpu", dtype=torch.float32))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return WhisperForConditionalGeneration.from_pretrained(folder).eval()


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def forward(model: Any, features: Tensor, ids: Tensor) -> Tensor:
    return model(input_features=features.transpose(1, 2).to(model.dtype), decoder_input_ids=ids).logits.float()


def ours(folder: Path, features: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits after every token from the fifth on: five tokens at once, then one by one."""
    engine = TorchEngine(load_whisper(folder, name="t", device="cpu", dtype=dtype))
    assert engine.name == f"torch cpu {str(dtype)[6:]}"
    state = engine.start(engine.encode(features), max_length=ids.shape[1])
    got = [engine.step(state, ids[:, :5]), *(engine.step(state, ids[:, i : i + 1]) for i in range(5, ids.shape[1]))]
    return torch.stack(got, 1)


@pytest.mark.parametrize("batch", [1, 4])
def test_logits_are_those_of_transformers(folder: Path, theirs: Any, batch: int) -> None:
    features, ids = random_features(batch), tokens(batch, 12)
    got = ours(folder, features, ids, torch.float32)
    assert torch.allclose(got, forward(theirs, features, ids)[:, 4:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_exact_as_in_transformers(folder: Path, theirs: Any, dtype: torch.dtype) -> None:
    features, ids = random_features(4), tokens(4, 12)
    exact = forward(theirs, features, ids)[:, 4:]
    half = WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
    their_error = (forward(half, features, ids)[:, 4:] - exact).abs().mean()
    got = ours(folder, features, ids, dtype)
    assert got.dtype == torch.float32
    assert (got - exact).abs().mean() < 1.2 * their_error


def test_a_whole_window_encodes_as_in_transformers(engine: TorchEngine, theirs: Any) -> None:
    features = random_features(2)
    with torch.no_grad():
        want = theirs.model.encoder(features.transpose(1, 2)).last_hidden_state
    assert torch.allclose(engine.encode(features).hidden, want, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 7, 50, 2 * POSITIONS])
def test_shorter_windows_encode_as_in_a_slow_twin(engine: TorchEngine, theirs: Any, frames: int) -> None:
    features = random_features(2, frames=frames)
    got = engine.encode(features).hidden
    assert got.shape == (2, (frames + 1) // 2, 64)
    assert torch.allclose(got.double(), slow_encode(theirs.model.encoder, features.double()), atol=1e-4)


def slow_encode(encoder: Any, features: Tensor) -> Tensor:
    """Head by head, in float64."""
    weights = {name: value.double() for name, value in encoder.state_dict().items()}

    def linear(name: str, x: Tensor) -> Tensor:
        y = x @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def norm(name: str, x: Tensor) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = features.transpose(1, 2)
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = functional.gelu(functional.conv1d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, 1))
    x = x.transpose(1, 2)
    x = x + weights["embed_positions.weight"][: x.shape[1]]
    for index in range(2):
        layer = f"layers.{index}"
        h = norm(f"{layer}.self_attn_layer_norm", x)
        q, k, v = (linear(f"{layer}.self_attn.{name}_proj", h).split(16, -1) for name in "qkv")
        heads = [(a @ b.transpose(1, 2) / 4.0).softmax(-1) @ c for a, b, c in zip(q, k, v, strict=True)]
        x = x + linear(f"{layer}.self_attn.out_proj", torch.cat(heads, -1))
        h = functional.gelu(linear(f"{layer}.fc1", norm(f"{layer}.final_layer_norm", x)))
        x = x + linear(f"{layer}.fc2", h)
    return norm("layer_norm", x)


@pytest.mark.parametrize("parts", [(10,), (1,) * 10, (3, 1, 1, 5), (4, 6)])
def test_steps_in_parts_equal_one_pass(
    engine: TorchEngine, parts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "FIRST_CAPACITY", 2)  # the cache has to grow on the way
    encoded, ids = engine.encode(random_features(2)), tokens(2, 10)
    whole = engine.step(engine.start(encoded, max_length=10), ids)
    state = engine.start(encoded, max_length=10)
    for part in ids.split(list(parts), 1):
        logits = engine.step(state, part)
    assert state.length == 10
    assert torch.allclose(logits, whole, atol=1e-4)


def test_windows_may_be_left_out_in_mid_decode(engine: TorchEngine) -> None:
    encoded, ids = engine.encode(random_features(4)), tokens(4, 6)
    state = engine.start(encoded, max_length=6)
    engine.step(state, ids[:, :2])
    held = [0, 1, 2, 3]
    for place, rows in enumerate(([0, 1, 3], [2, 1], [1])):  # the first, any, one
        assert state.keep(rows)
        held = [held[row] for row in rows]
        got = engine.step(state, ids[held, 2 + place : 3 + place])
        want = engine.step(engine.start(encoded.select(held), max_length=6), ids[held, : 3 + place])
        assert torch.allclose(got, want, atol=2e-4)
    for wrong in ([], [1]):
        with pytest.raises(ValueError, match="at least one of 0 to 0"):
            state.keep(wrong)
    spread = engine.start(encoded.select([0]), max_length=4)
    engine.step(spread, ids[:1, :1])
    spread.reorder(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="2 rows for 1 windows"):
        spread.keep([0])


def test_reorder_continues_other_rows_and_spreads_them(engine: TorchEngine) -> None:
    encoded, ids = engine.encode(random_features(2)), tokens(2, 4)
    state = engine.start(encoded, max_length=9)
    engine.step(state, ids)
    state.reorder(torch.tensor([0, 0, 0, 1, 1, 1]))
    forks = tokens(6, 2)
    engine.step(state, forks[:, :1])
    order = [2, 0, 2, 4, 4, 3]
    state.reorder(torch.tensor(order))
    got = engine.step(state, forks[:, 1:])
    for row, origin in enumerate(order):
        window = origin // 3
        alone = engine.start(encoded.select([window]), max_length=9)
        whole = torch.cat([ids[window], forks[origin, :1], forks[row, 1:]])[None]
        assert torch.allclose(engine.step(alone, whole)[0], got[row], atol=1e-4)
    state.reorder(torch.tensor([1, 3]))
    assert engine.step(state, ids[:, :1]).shape[0] == 2
    with pytest.raises(ValueError, match="5 rows do not spread evenly over 2 windows"):
        state.reorder(torch.tensor([0, 0, 1, 1, 1]))


def test_select_takes_windows_in_any_order(engine: TorchEngine) -> None:
    features, ids = random_features(3), tokens(3, 4)
    encoded = engine.encode(features)
    assert encoded.select([0, 1, 2]) is encoded
    chosen = encoded.select([2, 0, 2])
    assert chosen.batch == 3
    want = engine.step(engine.start(engine.encode(features[[2, 0, 2]]), max_length=4), ids)
    assert torch.allclose(engine.step(engine.start(chosen, max_length=4), ids), want, atol=1e-4)


@pytest.mark.parametrize("length", [1, 9])
def test_alignment_is_the_cross_attention_of_transformers(folder: Path, engine: TorchEngine, length: int) -> None:
    heads = [(1, 3), (0, 2), (1, 0), (0, 2)]
    features, ids = random_features(3), tokens(3, length)
    eager = WhisperForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        found = eager(
            input_features=features.transpose(1, 2), decoder_input_ids=ids, output_attentions=True
        ).cross_attentions
    want = torch.stack([found[layer][:, head] for layer, head in heads], 1)
    got = engine.align(engine.encode(features), ids, heads)
    assert got.dtype == torch.float32
    assert got.shape == (3, 4, length, POSITIONS)
    assert torch.allclose(got, want, atol=1e-5)
    assert torch.allclose(got.sum(-1), torch.ones(3, 4, length), atol=1e-5)


def test_alignment_of_shorter_windows_and_of_filled_rows(engine: TorchEngine) -> None:
    encoded, ids = engine.encode(random_features(2, frames=51)), tokens(2, 7)
    whole = engine.align(encoded, ids, [(1, 1)])
    assert whole.shape == (2, 1, 7, 26)
    filled = ids.clone()
    filled[:, 4:] = 0
    assert torch.allclose(engine.align(encoded, filled, [(1, 1)])[:, :, :4], whole[:, :, :4], atol=1e-6)
    assert torch.allclose(engine.align(encoded.select([1]), ids[1:], [(1, 1)])[0], whole[1], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_alignment_in_half_precision(folder: Path, engine: TorchEngine, dtype: torch.dtype) -> None:
    half = TorchEngine(load_whisper(folder, name="t", device="cpu", dtype=dtype))
    features, ids = random_features(2), tokens(2, 6)
    got = half.align(half.encode(features), ids, [(0, 1), (0, 3)])
    assert got.dtype == torch.float32
    assert (got - engine.align(engine.encode(features), ids, [(0, 1), (0, 3)])).abs().mean() < 2e-3


def test_alignment_refuses_what_does_not_fit(engine: TorchEngine) -> None:
    encoded = engine.encode(random_features(2))
    for heads in ([], [(2, 0)], [(0, 4)], [(-1, 0)]):
        with pytest.raises(ValueError, match=r"pairs below \(2, 4\), at least one"):
            engine.align(encoded, tokens(2, 3), heads)
    with pytest.raises(ValueError, match="holds 2 rows, got tokens for 3"):
        engine.align(encoded, tokens(3, 3), [(0, 0)])
    with pytest.raises(ValueError, match="at least one token"):
        engine.align(encoded, tokens(2, 0), [(0, 0)])
    with pytest.raises(ValueError, match="from 1 to the model's 64 tokens, got 65"):
        engine.align(encoded, tokens(2, 65), [(0, 0)])


def test_what_does_not_fit_is_refused(engine: TorchEngine) -> None:
    for bad in (torch.zeros(1, 201, 16), torch.zeros(1, 0, 16), torch.zeros(1, 200, 80), torch.zeros(200, 16)):
        with pytest.raises(ValueError, match="1 to 200 frames, 16 mel_bins"):
            engine.encode(bad)
    encoded = engine.encode(random_features(2))
    with pytest.raises(ValueError, match="from 1 to the model's 64 tokens, got 65"):
        engine.start(encoded, max_length=65)
    state = engine.start(encoded, max_length=3)
    with pytest.raises(ValueError, match="started for 3 tokens, got 4"):
        engine.step(state, tokens(2, 4))
    with pytest.raises(ValueError, match="holds 2 rows, got tokens for 3"):
        engine.step(state, tokens(3, 1))


def test_replaced_layers_are_called_as_they_are(folder: Path) -> None:
    """A low-rank pair where a linear layer was, as compression leaves it."""
    model = load_whisper(folder, name="t", device="cpu", dtype=torch.float32)
    torch.manual_seed(0)
    for layer in (*model.module.model.encoder.layers, *model.module.model.decoder.layers):
        layer.fc1 = nn.Sequential(nn.Linear(64, 8, bias=False), nn.Linear(8, 96))
        layer.self_attn.v_proj = nn.Sequential(nn.Linear(64, 8, bias=False), nn.Linear(8, 64))
    engine = TorchEngine(model)
    features, ids = random_features(2), tokens(2, 5)
    got = engine.step(engine.start(engine.encode(features), max_length=5), ids)
    assert torch.allclose(got, forward(model.module, features, ids)[:, -1], atol=1e-4)


@pytest.mark.parametrize("activation", [None, nn.GELU(), nn.ReLU(), nn.GELU(approximate="tanh")])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_product_is_a_linear_layer(activation: nn.Module | None, rows: int) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(48, 33).requires_grad_(False), torch.randn(2, rows, 48)
    want = layer(x) if activation is None else activation(layer(x))
    fast = product(layer, activation)
    assert torch.allclose(fast(x), want, atol=1e-5)
    if isinstance(fast, Product):
        fast.pack()
        assert torch.allclose(fast(x), want, atol=1e-5)
    both = fused([layer, nn.Linear(48, 5, bias=False).requires_grad_(False)])
    assert torch.allclose(both(x)[..., :33], layer(x), atol=1e-5)


def test_without_onednn_the_plain_product_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.engines.torch.ops.has_onednn", lambda _: False)
    layer, x = nn.Linear(48, 33).requires_grad_(False), torch.randn(3, 48)
    fast = product(layer, nn.GELU())
    assert isinstance(fast, Product)
    fast.pack()
    assert torch.equal(fast(x), functional.gelu(layer(x)))
    assert not has_onednn(torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_the_fused_one(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 8).to(dtype) for n in (4, 9, 9))
    hidden = torch.ones(4, 9, dtype=torch.bool).triu(6)
    want = functional.scaled_dot_product_attention(query, key, value, attn_mask=~hidden, scale=1.0)
    assert torch.allclose(attend(query, key, value, hidden=hidden), want, atol=1e-5)
