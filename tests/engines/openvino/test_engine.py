"""The OpenVINO engine against the torch engine: the same tokens in float32, near logits in every compute type."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines import padding
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import ModelSource, compile_converted, load_converted
from linnet.engines.openvino.formats import Precision
from linnet.engines.openvino.runtime import has_bf16
from linnet.engines.padding import Layout
from linnet.engines.torch import TorchEngine
from linnet.models.whisper import WhisperModel, load_module, load_whisper
from tests.support.tiny_whispers import random_features, save_whisper

KINDS = {
    "f32": ("f32", "f32"),
    "bf16": ("f16", "bf16"),
    "int8": ("int8", "bf16"),
    "int8 f32": ("int8", "f32"),
    "f16 f32": ("f16", "f32"),
}

MakeEngine = Callable[[str], OpenVinoEngine]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("openvino"), seed=1)


@pytest.fixture(scope="module")
def model(folder: Path) -> WhisperModel:
    return load_whisper(folder, name="t", device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def theirs(model: WhisperModel) -> TorchEngine:
    return TorchEngine(model)


@pytest.fixture(scope="module")
def make(folder: Path) -> MakeEngine:
    source = ModelSource(folder, "t", lambda: load_module(folder, name="t", dtype=torch.float32))

    def engine(kind: str) -> OpenVinoEngine:
        precision = Precision(*KINDS[kind])
        if precision.compute == "bf16" and not has_bf16():
            pytest.skip("this CPU has no bfloat16")
        return OpenVinoEngine(compile_converted(load_converted(source, precision, lambda _: None), 1), label=kind)

    return engine


@pytest.fixture(scope="module")
def engine(make: MakeEngine) -> OpenVinoEngine:
    return make("f32")


def tokens(rows: int, length: int, seed: int = 3) -> Tensor:
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(seed))


def step(engine: TorchEngine | OpenVinoEngine, state: Any, ids: Tensor) -> Tensor:
    """The logits after these tokens, as a tensor, whatever the engine gives."""
    return torch.as_tensor(engine.step(state, ids))


def logits(engine: TorchEngine | OpenVinoEngine, features: Tensor, ids: Tensor) -> Tensor:
    """Logits after every token from the fifth on: five tokens at once, then one by one."""
    state = engine.start(engine.encode(features), max_length=ids.shape[1])
    got = [step(engine, state, ids[:, :5])]
    got += [step(engine, state, ids[:, i : i + 1]) for i in range(5, ids.shape[1])]
    return torch.stack(got, 1)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("frames", [200, 199, 57, 2, 1])
def test_logits_are_those_of_torch(theirs: TorchEngine, engine: OpenVinoEngine, batch: int, frames: int) -> None:
    features, ids = random_features(batch, frames=frames), tokens(batch, 12)
    assert torch.allclose(logits(engine, features, ids), logits(theirs, features, ids), atol=2e-4, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_first_window_of_one_position_spoils_no_later_one(theirs: TorchEngine, make: MakeEngine, frames: int) -> None:
    fresh, ids = make("f32"), tokens(1, 8)
    for count in (frames, 200, frames, 57):
        features = random_features(1)[:, :count]
        assert torch.allclose(logits(fresh, features, ids), logits(theirs, features, ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["bf16", "int8", "int8 f32"])
@pytest.mark.parametrize("batch", [1, 3])
def test_other_compute_types_are_near(theirs: TorchEngine, make: MakeEngine, kind: str, batch: int) -> None:
    features, ids = random_features(batch), tokens(batch, 12)
    got, exact = logits(make(kind), features, ids), logits(theirs, features, ids)
    assert (got - exact).abs().mean() < 0.06 * exact.std()


def condensed_twin(model: WhisperModel, features: Tensor, layout: Layout, ids: Tensor) -> Tensor:
    """Logits after every token, by Transformers' own layers over the indices of a layout, one window."""
    encoder, decoder = model.module.model.encoder, model.module.model.decoder
    x = functional.gelu(encoder.conv1(features.transpose(1, 2)))
    x = functional.gelu(encoder.conv2(x)).transpose(1, 2) + encoder.embed_positions.weight
    x, bias = x[:, layout.indices], torch.from_numpy(layout.bias)[None, None, None]
    for layer in encoder.layers:
        found = layer(x, attention_mask=bias)
        x = found[0] if isinstance(found, tuple) else found
    x = encoder.layer_norm(x)
    repeats = bias[0, 0, 0].exp().round().long()  # as many equal keys as each place counts: what the bias stands for
    hidden = decoder(input_ids=ids, encoder_hidden_states=x.repeat_interleave(repeats, 1)).last_hidden_state
    logits: Tensor = model.module.proj_out(hidden)
    return logits


@torch.no_grad()
def test_condensed_padding_counts_as_much_as_it_stands_for(
    model: WhisperModel, make: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("STEP", 10), ("MARGIN", 3), ("STRIDE", 4)):
        monkeypatch.setattr(padding, name, value)
    features, ids, sound = random_features(3), tokens(3, 9), [60, 200, 20]
    engine = make("f16 f32")
    encoded = engine.encode(features, sound)
    state = engine.start(encoded, max_length=9)
    got = [step(engine, state, ids[:, :5]), *(step(engine, state, ids[:, at : at + 1]) for at in range(5, 9))]
    for row, count in enumerate(sound):
        layout = padding.condense(100, count)
        assert (len(layout) < 100) == (count < 200)
        wanted = condensed_twin(model, features[row : row + 1], layout, ids[row : row + 1])[0, 4:]
        mine = torch.stack([step[row] for step in got])
        assert (mine - wanted).abs().max() < 0.02 * wanted.std()  # weights of 16 bits


def test_float32_condenses_nothing(engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "STEP", 10)
    features = random_features(2)
    pairs = zip(engine.encode(features).cross, engine.encode(features, [20, 20]).cross, strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


OPTIONS = [
    DecodingOptions(timestamps=False, temperatures=(0.0,)),
    DecodingOptions(temperatures=(0.0,)),
    DecodingOptions(beam_size=5, temperatures=(0.0,)),
    DecodingOptions(beam_size=5, timestamps=False, prompt="three four", temperatures=(0.0,)),
    DecodingOptions(temperatures=(0.0, 0.8), log_probability_threshold=-0.1, seed=5),
    DecodingOptions(language="de", temperatures=(0.6,), seed=1),
]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("options", OPTIONS)
def test_decoding_finds_the_tokens_of_torch(
    model: WhisperModel, theirs: TorchEngine, engine: OpenVinoEngine, options: DecodingOptions, batch: int
) -> None:
    features = random_features(batch, seed=batch)
    found = []
    for each in (theirs, engine):
        decoder = Decoder(each, model.vocabulary, max_length=model.max_length)
        found.append(decoder.decode(each.encode(features), options))
    for want, got in zip(*found, strict=True):
        assert (got.tokens, got.language, got.temperature) == (want.tokens, want.language, want.temperature)
        assert got.avg_logprob == pytest.approx(want.avg_logprob, abs=1e-3)
        assert got.no_speech_prob == pytest.approx(want.no_speech_prob, abs=1e-4)
    assert batch == 1 or any(len(got.tokens) > 3 for got in found[1])


def test_reorder_continues_other_rows_and_spreads_them(engine: OpenVinoEngine) -> None:
    encoded, ids = engine.encode(random_features(2)), tokens(2, 4)
    state = engine.start(encoded, max_length=9)
    step(engine, state, ids)
    state.reorder(torch.tensor([0, 0, 0, 1, 1, 1]))
    forks = tokens(6, 2)
    step(engine, state, forks[:, :1])
    first, second = torch.tensor([1, 2, 0, 5, 3, 4]), torch.tensor([1, 2, 1, 4, 5, 5])
    state.reorder(first)
    state.reorder(second)  # two in a row, before the next step
    got = step(engine, state, forks[:, 1:])
    for row, origin in enumerate(first[second].tolist()):
        alone = engine.start(encoded.select([origin // 3]), max_length=9)
        whole = torch.cat([ids[origin // 3], forks[origin, :1], forks[row, 1:]])[None]
        assert torch.allclose(step(engine, alone, whole)[0], got[row], atol=2e-4)
    state.reorder(torch.tensor([1, 3]))
    assert step(engine, state, ids[:, :1]).shape[0] == 2
    with pytest.raises(ValueError, match="5 rows do not spread evenly over 2 windows"):
        state.reorder(torch.tensor([0, 0, 1, 1, 1]))


def test_windows_may_be_left_out_in_mid_decode(engine: OpenVinoEngine) -> None:
    encoded, ids = engine.encode(random_features(4)), tokens(4, 6)
    state = engine.start(encoded, max_length=6)
    step(engine, state, ids[:, :2])
    held = [0, 1, 2, 3]
    for place, rows in enumerate(([0, 1, 3], [2, 1], [1])):  # the first, any, one
        assert state.keep(rows)
        held = [held[row] for row in rows]
        got = step(engine, state, ids[held, 2 + place : 3 + place])
        want = step(engine, engine.start(encoded.select(held), max_length=6), ids[held, : 3 + place])
        assert torch.allclose(got, want, atol=2e-4)
    for wrong in ([], [1]):
        with pytest.raises(ValueError, match="at least one of 0 to 0"):
            state.keep(wrong)
    spread = engine.start(encoded.select([0]), max_length=4)
    spread.reorder(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="2 rows for 1 windows"):
        spread.keep([0])


def test_rows_may_be_spread_before_the_first_token(engine: OpenVinoEngine) -> None:
    encoded, ids = engine.encode(random_features(2)), tokens(4, 3)
    state = engine.start(encoded, max_length=5)
    state.reorder(torch.tensor([0, 0, 1, 1]))
    want = step(engine, engine.start(encoded.select([0, 0, 1, 1]), max_length=5), ids)
    assert torch.allclose(step(engine, state, ids), want, atol=2e-4)


def test_select_takes_windows_in_any_order(engine: OpenVinoEngine) -> None:
    features, ids = random_features(3), tokens(3, 4)
    encoded = engine.encode(features)
    assert encoded.select([0, 1, 2]) is encoded
    chosen = encoded.select([2, 0, 2])
    assert chosen.batch == 3
    want = step(engine, engine.start(engine.encode(features[[2, 0, 2]]), max_length=4), ids)
    assert torch.allclose(step(engine, engine.start(chosen, max_length=4), ids), want, atol=2e-4)


def test_decodes_do_not_disturb_each_other(engine: OpenVinoEngine) -> None:
    """States begun one after another and stepped in turn, requests given back and taken again, and two threads."""
    features, ids = random_features(3), tokens(3, 9)
    want = [logits(engine, features[row : row + 1], ids[row : row + 1]) for row in range(3)]
    encoded = [engine.encode(features[row : row + 1]) for row in range(3)]
    states = [engine.start(each, max_length=9) for each in encoded]
    for place in range(9):
        got = [step(engine, state, ids[row : row + 1, place : place + 1]) for row, state in enumerate(states)]
        if place >= 4:
            for row in range(3):
                assert torch.allclose(got[row], want[row][:, place - 4], atol=2e-4)
    results: dict[int, list[Tensor]] = {0: [], 1: [], 2: []}

    def work(row: int) -> None:
        results[row] += [logits(engine, features[row : row + 1], ids[row : row + 1]) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(row,)) for row in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row, found in results.items():
        assert len(found) == 4
        assert all(torch.allclose(each, want[row], atol=2e-4) for each in found)


def test_logits_are_the_callers(engine: OpenVinoEngine) -> None:
    state = engine.start(engine.encode(random_features(1)), max_length=5)
    first = engine.step(state, tokens(1, 2))
    kept = first.copy()
    engine.step(state, tokens(1, 1))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("length", [1, 7, 64])
def test_alignment_is_that_of_torch(theirs: TorchEngine, engine: OpenVinoEngine, length: int) -> None:
    features, ids, heads = random_features(2, frames=150), tokens(2, length), [(1, 3), (0, 0), (1, 0)]
    got = torch.as_tensor(engine.align(engine.encode(features), ids, heads))
    want = theirs.align(theirs.encode(features), ids, heads)
    assert got.shape == (2, 3, length, 75)
    assert got.dtype == torch.float32
    assert torch.allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_alignment_in_other_compute_types(theirs: TorchEngine, make: MakeEngine, kind: str) -> None:
    other, features, ids = make(kind), random_features(3), tokens(3, 6)
    got = torch.as_tensor(other.align(other.encode(features), ids, [(0, 1), (1, 2)]))
    assert torch.allclose(got.sum(-1), torch.ones(3, 2, 6), atol=1e-4)
    assert (got - theirs.align(theirs.encode(features), ids, [(0, 1), (1, 2)])).abs().mean() < 2e-3


def test_what_does_not_fit_is_refused(engine: OpenVinoEngine) -> None:
    for bad in (torch.zeros(1, 201, 16), torch.zeros(1, 0, 16), torch.zeros(1, 200, 80), torch.zeros(200, 16)):
        with pytest.raises(ValueError, match="1 to 200 frames, 16 mel_bins"):
            engine.encode(bad)
    encoded = engine.encode(random_features(2))
    with pytest.raises(ValueError, match="from 1 to the model's 64 tokens, got 65"):
        engine.start(encoded, max_length=65)
    state = engine.start(encoded, max_length=3)
    with pytest.raises(ValueError, match="started for 3 tokens, got 4"):
        step(engine, state, tokens(2, 4))
    with pytest.raises(ValueError, match="holds 2 rows, got tokens for 3"):
        step(engine, state, tokens(3, 1))
    with pytest.raises(ValueError, match="at least one token"):
        step(engine, state, tokens(2, 0))
    for heads in ([], [(2, 0)], [(0, 4)], [(-1, 0)]):
        with pytest.raises(ValueError, match=r"pairs below \(2, 4\)"):
            engine.align(encoded, tokens(2, 3), heads)
    with pytest.raises(ValueError, match="65"):
        engine.align(encoded, tokens(2, 65), [(0, 0)])


def test_replaced_layers_are_converted_as_they_are(folder: Path, model: WhisperModel, tmp_path: Path) -> None:
    """A low-rank pair where a linear layer was, as compression leaves it."""
    torch.manual_seed(0)
    module = load_module(folder, name="t", dtype=torch.float32)
    for layer in (*module.model.encoder.layers, *module.model.decoder.layers):
        layer.fc1 = nn.Sequential(nn.Linear(64, 8, bias=False), nn.Linear(8, 96))
        layer.self_attn.v_proj = nn.Sequential(nn.Linear(64, 8, bias=False), nn.Linear(8, 64))
    module.requires_grad_(False)
    own = save_whisper(tmp_path / "own", seed=9)
    converted = load_converted(ModelSource(own, "t", lambda: module), Precision("f32", "f32"), lambda _: None)
    engine = OpenVinoEngine(compile_converted(converted, 1), label="f32")
    features, ids = random_features(2), tokens(2, 5)
    got = step(engine, engine.start(engine.encode(features), max_length=5), ids)
    with torch.no_grad():
        want = module(input_features=features.transpose(1, 2), decoder_input_ids=ids).logits[:, -1]
    assert torch.allclose(got, want, atol=2e-4)
