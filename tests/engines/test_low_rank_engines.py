"""Both engines run low-rank models, in every form, as their float64 modules do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import ModelSource, compile_converted, load_converted
from linnet.engines.openvino.copies import model_key
from linnet.engines.openvino.formats import Precision
from linnet.engines.openvino.modules import ExportEncoder
from linnet.engines.openvino.runtime import has_bf16
from linnet.engines.padding import full_layout
from linnet.engines.torch import TorchEngine
from linnet.engines.torch.encoder import TorchEncoder
from linnet.engines.torch.ops import Fused, Product, Rest, fused, product
from linnet.models.lowrank.attention import ReducedAttention, Reducible
from linnet.models.lowrank.layers import Form, PairLinear, PivotLinear, low_rank_layer, low_rank_linear
from linnet.models.lowrank.rewriting import factors_of, for_frames, untangle, without_bias
from linnet.models.whisper import WhisperModel, load_module, load_whisper
from tests.support.low_rank_models import ENCODER, compress, save_compressed_whisper
from tests.support.low_rank_models import factors_of as svd_factors
from tests.support.tiny_whispers import edit_json, random_features, random_whisper, small_tokenizer

KINDS = {"pairs": ["pair"], "pivots": ["pivot"], "both": ["pair", "pivot", "pivot"]}


@pytest.fixture(scope="module", params=KINDS)
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Encoder and decoder low-rank, every key with a bias; in `both` some layers are dense and the forms are mixed."""
    root = tmp_path_factory.mktemp(request.param)
    names = [name for name in ENCODER if request.param != "both" or name != "q_proj"]
    return save_compressed_whisper(root, seed=1, part=".model.", forms=KINDS[request.param], names=names)[1]


@pytest.fixture(scope="module")
def model(folder: Path) -> WhisperModel:
    return load_whisper(folder, name="t", device="cpu", dtype=torch.float32)


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def exact(model: WhisperModel, features: Tensor, ids: Tensor) -> Tensor:
    """Transformers' forward pass through the low-rank modules in float64: logits from the fifth token on."""
    module = copy.deepcopy(model.module).double()
    logits: Tensor = module(input_features=features.double().transpose(1, 2), decoder_input_ids=ids).logits
    return logits[:, 4:]


def heard(engine: Any, features: Tensor, ids: Tensor) -> Tensor:
    """Logits after every token from the fifth on: five tokens at once, then one by one."""
    state = engine.start(engine.encode(features), max_length=ids.shape[1])
    got = [engine.step(state, ids[:, :5])]
    got += [engine.step(state, ids[:, i : i + 1]) for i in range(5, ids.shape[1])]
    return torch.stack([torch.as_tensor(each) for each in got], 1).double()


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("static", [False, True])
def test_the_torch_engine(model: WhisperModel, batch: int, static: bool) -> None:
    features, ids = random_features(batch), tokens(batch, 10)
    got = heard(TorchEngine(model, static=static), features, ids)
    torch.testing.assert_close(got, exact(model, features, ids), atol=3e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_torch_engine_in_half_precision(folder: Path, model: WhisperModel, dtype: torch.dtype) -> None:
    features, ids = random_features(2), tokens(2, 8)
    want = exact(model, features, ids)
    half = load_whisper(folder, name="t", device="cpu", dtype=dtype)
    with torch.no_grad():
        features_half = features.transpose(1, 2).to(dtype)
        theirs = half.module(input_features=features_half, decoder_input_ids=ids).logits[:, 4:].double()
    assert (heard(TorchEngine(half), features, ids) - want).abs().mean() < 1.5 * (theirs - want).abs().mean()


def converted(folder: Path, weights: str, compute: str) -> OpenVinoEngine:
    source = ModelSource(folder, "t", lambda: load_module(folder, name="t", dtype=torch.float32))
    return OpenVinoEngine(
        compile_converted(load_converted(source, Precision(weights, compute), lambda _: None), 1), label="t"
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_the_openvino_engine(folder: Path, model: WhisperModel, batch: int) -> None:
    features, ids = random_features(batch), tokens(batch, 10)
    got = heard(converted(folder, "f32", "f32"), features, ids)
    torch.testing.assert_close(got, exact(model, features, ids), atol=5e-4, rtol=0)


@pytest.mark.parametrize(("weights", "compute"), [("int8", "f32"), ("int8", "bf16"), ("f16", "bf16")])
def test_the_openvino_engine_in_fewer_bits(folder: Path, model: WhisperModel, weights: str, compute: str) -> None:
    if compute == "bf16" and not has_bf16():
        pytest.skip("this CPU has no bfloat16")
    features, ids = random_features(2), tokens(2, 10)
    want = exact(model, features, ids)
    assert (heard(converted(folder, weights, compute), features, ids) - want).abs().mean() < 0.1 * want.std()


def test_both_halves_are_held_in_8_bits(folder: Path) -> None:
    """Every constant that is multiplied in the encoder."""
    source = ModelSource(folder, "t", lambda: load_module(folder, name="t", dtype=torch.float32))
    encoder = load_converted(source, Precision("int8", "f32"), lambda _: None).encoder
    products = [op for op in encoder.get_ops() if op.get_type_name() == "MatMul"]
    found = 0
    for op in products:
        node = op.input_value(1).get_node()
        while node.get_type_name() in ("Convert", "Multiply", "Subtract", "Transpose", "Reshape"):
            node = node.input_value(0).get_node()
        if node.get_type_name() == "Constant":
            assert node.get_element_type().get_type_name() in ("u8", "i8")
            found += 1
    assert found >= 2 * 8  # of each layer at least both halves of all but the queries


def test_a_plan_is_part_of_what_a_converted_copy_is_found_by(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    before = model_key(tmp_path)
    assert model_key(tmp_path) == before
    edit_json(tmp_path / "config.json", linnet_low_rank={"base_model_type": "whisper", "layers": {}})
    assert model_key(tmp_path) != before


# --- products


def layer(form: Form, inputs: int, outputs: int, rank: int) -> Any:
    torch.manual_seed(rank)
    return low_rank_layer(svd_factors(nn.Linear(inputs, outputs), rank), form).requires_grad_(False)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("activation", [None, nn.GELU(), nn.ReLU()])
@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_a_product_is_a_low_rank_layer(form: Form, activation: nn.Module | None, packed: bool) -> None:
    module, x = layer(form, 48, 32, 12), torch.randn(2, 5, 48)
    fast: Any = product(module, activation)
    if packed and hasattr(fast, "pack"):
        fast.pack()
    want = module(x) if activation is None else activation(module(x))
    torch.testing.assert_close(fast(x), want, atol=1e-5, rtol=1e-5)


def test_first_halves_of_one_input_are_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = [layer("pair", 48, 32, 8), layer("pivot", 48, 32, 12), nn.Linear(48, 32).requires_grad_(False)]
    x = torch.randn(2, 5, 48)
    want = torch.cat([module(x) for module in modules], -1)
    made = fused(modules)
    assert isinstance(made, Fused)
    assert made.first.weight.shape == (8 + 12 + 32, 48)
    seen: list[int] = []
    plain = Product.__call__
    monkeypatch.setattr(Product, "__call__", lambda self, x: (seen.append(x.shape[-1]), plain(self, x))[1])
    torch.testing.assert_close(made(x), want, atol=1e-5, rtol=1e-5)
    assert seen == [48, 8, 12]
    made.pack()
    torch.testing.assert_close(made(x), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("after", ["pair", "pivot", "dense"])
def test_an_order_of_outputs_goes_into_the_inputs_of_the_next_layer(after: Any) -> None:
    before = layer("pivot", 24, 40, 9)
    second: Any = nn.Linear(40, 24).requires_grad_(False) if after == "dense" else layer(after, 40, 24, 11)
    x = torch.randn(3, 24)
    want = second(functional.gelu(before(x)))
    assert Rest(before).order is not None
    first, moved = untangle(before, second)
    assert isinstance(first, PivotLinear)
    assert Rest(first).order is None
    torch.testing.assert_close(moved(functional.gelu(first(x))), want, atol=1e-5, rtol=1e-5)
    pair = layer("pair", 24, 40, 9)
    assert untangle(pair, second) == (pair, second)


@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_a_layer_without_its_bias(form: Form) -> None:
    module, x = layer(form, 48, 32, 12), torch.randn(5, 48)
    weight, bias = module.dense()
    torch.testing.assert_close(without_bias(module)(x), (x.double() @ weight.T).float(), atol=1e-5, rtol=1e-5)
    factors = factors_of(module)
    assert factors is not None
    torch.testing.assert_close(factors.dense()[0].double(), weight, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(factors.bias, bias.float())


# --- what softmax does not see, and attention in fewer dimensions


@torch.no_grad()
@pytest.mark.parametrize("part", ["encoder self_attn", "decoder self_attn", "decoder encoder_attn"])
def test_a_bias_of_keys_has_no_effect(part: str) -> None:
    """In Transformers' own float64 pass: a large one added to the keys changes no logit."""
    module = random_whisper(small_tokenizer(), seed=4).double()
    features, ids = random_features(2).double().transpose(1, 2), tokens(2, 6)
    want = module(input_features=features, decoder_input_ids=ids).logits
    stack, attention = part.split()
    for each in getattr(module.model, stack).layers:
        key = getattr(each, attention).k_proj
        key.bias = nn.Parameter(torch.randn(64, dtype=torch.float64) * 3)
    got = module(input_features=features, decoder_input_ids=ids).logits
    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


PLACES = [(210, True, "pair"), (215, True, "pivot"), (240, False, "pair"), (250, False, "pivot")]


@torch.no_grad()
@pytest.mark.parametrize(("rank", "ordered", "form"), PLACES)
def test_over_frames_a_pivot_layer_is_a_pair_below_some_rank(rank: int, ordered: bool, form: Form) -> None:
    """Of 300 outputs: the root of 150 multiply-adds to join each is 212, of 200 to move each 245."""
    torch.manual_seed(0)
    module: Any = low_rank_linear(300, 300, rank, "pivot")
    if not ordered:
        module.order.copy_(torch.randperm(300))
    made: Any = for_frames(module)
    assert made.form == form
    x = torch.randn(2, 9, 300)
    torch.testing.assert_close(made(x), module(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_graphs_of_low_ranks_move_no_output(tmp_path: Path) -> None:
    """Only embeddings are gathered, nothing is put side by side: products alone, each layer's two in a row."""
    folder = save_compressed_whisper(tmp_path, seed=1, part=".encoder.", forms=["pivot"])[1]
    source = ModelSource(folder, "t", lambda: load_module(folder, name="t", dtype=torch.float32))
    graph = load_converted(source, Precision("f32", "f32"), lambda _: None).encoder
    kinds = [op.get_type_name() for op in graph.get_ops()]
    assert kinds.count("Gather") - kinds.count("ShapeOf") <= 2  # of positions, and of sizes
    widths = [op.output(0).get_partial_shape()[-1] for op in graph.get_ops() if op.get_type_name() == "Concat"]
    assert all(width.is_static and width.get_length() <= 4 for width in widths)  # of shapes alone


RANKS = {"keys and values": (9, 7, 5), "keys": (20, 6, 24), "values": (20, 24, 6)}


@torch.no_grad()
@pytest.mark.parametrize("out", ["pair", "pivot", "dense"])
@pytest.mark.parametrize("query", ["pair", "pivot", "dense"])
@pytest.mark.parametrize("which", RANKS)
def test_reduced_attention_is_attention(which: str, query: Any, out: Any) -> None:
    """Against Transformers' layer on the low-rank modules in float64; heads have 16 channels."""
    module = random_whisper(small_tokenizer(), seed=4).double()
    attention = module.model.encoder.layers[0].self_attn
    for name, rank, form in zip("qkv", RANKS[which], (query, "pair", "pivot"), strict=True):
        if form != "dense":
            dense = getattr(attention, f"{name}_proj")
            setattr(attention, f"{name}_proj", low_rank_layer(svd_factors(dense, rank, bias=True, seed=rank), form))
    if out != "dense":
        attention.out_proj = low_rank_layer(svd_factors(attention.out_proj, 30), out)
    assert Reducible.of(attention) == Reducible("keys" in which, "values" in which)
    x = torch.randn(2, 11, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bias = torch.randn(1, 1, 1, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    reduced = ReducedAttention(attention)
    torch.testing.assert_close(reduced(x), attention(x)[0], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(reduced(x, bias), attention(x, attention_mask=bias)[0], atol=1e-10, rtol=1e-10)


def test_nothing_is_reduced_where_ranks_are_not_below_the_channels() -> None:
    attention = random_whisper(small_tokenizer(), seed=4).model.encoder.layers[0].self_attn
    assert not Reducible.of(attention)
    attention.k_proj = low_rank_layer(svd_factors(attention.k_proj, 16), "pair")
    assert not Reducible.of(attention)
    with pytest.raises(ValueError, match="neither keys nor values"):
        ReducedAttention(attention)


@torch.no_grad()
@pytest.mark.parametrize("frames", [200, 57])
def test_engines_encode_the_same_in_the_reduced_dimension(frames: int) -> None:
    module = random_whisper(small_tokenizer(), seed=4)
    compress(module, ".encoder.", rank=12, forms=["pair", "pivot"], bias=True)
    encoder, features = module.model.encoder, random_features(2, frames=frames)
    plain, reduced = TorchEncoder(encoder), TorchEncoder(encoder, reduce=True)
    assert all(layer.reduced is not None for layer in reduced.layers)
    want = plain(features)
    assert (reduced(features) - want).abs().max() < 1e-5 * want.abs().max()
    layout = full_layout((frames + 1) // 2)
    given = features, torch.from_numpy(layout.indices), torch.from_numpy(layout.bias)
    exports = [ExportEncoder(encoder, module.model.decoder, reduce=reduce)(*given) for reduce in (False, True)]
    for before, after in zip(*exports, strict=True):
        assert (after - before).abs().max() < 2e-5 * before.abs().max()


def test_the_torch_engine_multiplies_in_its_own_fast_way(model: WhisperModel) -> None:
    """No low-rank layer is called as a module."""
    engine = TorchEngine(model)
    for part in (*model.module.model.encoder.layers, *model.module.model.decoder.layers):
        for each in part.modules():
            if isinstance(each, PairLinear | PivotLinear):
                each.register_forward_pre_hook(lambda *_: pytest.fail("called as a module"))
    state = engine.start(engine.encode(random_features(1)), max_length=4)
    assert torch.isfinite(torch.as_tensor(engine.step(state, tokens(1, 3)))).all()
