"""Steps on fixed memory give what ordinary steps give. Recording them as CUDA graphs needs a GPU and is tried there."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor

from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.torch import TorchEngine
from linnet.engines.torch.static import KEPT, StaticStep
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.tiny_whispers import random_features, save_whisper

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.fixture(scope="module", params=DEVICES)
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> WhisperModel:
    folder: Path = save_whisper(tmp_path_factory.mktemp("static"), seed=1)
    return load_whisper(folder, name="t", device=request.param, dtype=torch.float32)


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(3))


def walked(engine: TorchEngine, batch: int, beams: int) -> Tensor:
    """Logits of a prefix of 3, of four more tokens, and of three more after the rows were swapped."""
    ids = tokens(batch * beams, 10).to(engine.device)
    state = engine.start(engine.encode(random_features(batch)), max_length=12)
    got = [engine.step(state, ids[::beams, :3]).repeat_interleave(beams, 0)]
    state.reorder(torch.arange(batch, device=engine.device).repeat_interleave(beams))
    got += [engine.step(state, ids[:, i : i + 1]) for i in range(3, 7)]
    swap = torch.arange(batch * beams, device=engine.device).view(batch, beams).flip(1).flatten()
    state.reorder(swap)
    got += [engine.step(state, ids[:, i : i + 1]) for i in range(7, 10)]
    assert state.length == 10
    return torch.stack(got)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_logits_are_those_of_ordinary_steps(model: WhisperModel, batch: int, beams: int) -> None:
    ordinary, static = TorchEngine(model, static=False), TorchEngine(model, static=True)
    expected = walked(ordinary, batch, beams)
    for _ in range(2):  # the second time in the memory of the first
        assert torch.allclose(walked(static, batch, beams), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("beam_size", [1, 5])
def test_the_same_tokens_are_decoded(model: WhisperModel, beam_size: int) -> None:
    options = DecodingOptions(beam_size=beam_size, language="en", temperatures=(0.0,), max_new_tokens=20)
    texts = []
    for static in (False, True):
        engine = TorchEngine(model, static=static)
        decoder = Decoder(engine, model.vocabulary, model.max_length)
        texts.append([found.tokens for found in decoder.decode(engine.encode(random_features(4)), options)])
    assert texts[0] == texts[1]


def test_memory_serves_one_decode_at_a_time_and_is_kept_for_the_next(model: WhisperModel) -> None:
    engine = TorchEngine(model, static=True)
    encoded = engine.encode(random_features(2))
    states = [engine.start(encoded, max_length=12) for _ in range(KEPT + 2)]
    ids = tokens(2, 2).to(engine.device)
    for state in states:
        engine.step(state, ids[:, :1])
    used = [state.static for state in states]
    assert len({id(step) for step in used}) == len(states)
    assert all(isinstance(step, StaticStep) for step in used)
    del state, states
    gc.collect()
    again = engine.start(encoded, max_length=12)
    engine.step(again, ids[:, :1])
    assert again.static in used
    assert len(engine.static.idle) == KEPT - 1


def test_it_refuses_more_tokens_than_it_was_started_for(model: WhisperModel) -> None:
    engine = TorchEngine(model, static=True)
    state = engine.start(engine.encode(random_features(1)), max_length=2)
    ids = tokens(1, 3).to(engine.device)
    engine.step(state, ids[:, :1])
    engine.step(state, ids[:, 1:2])
    with pytest.raises(ValueError, match="started for 2 tokens"):
        engine.step(state, ids[:, 2:])


def test_without_graphs_decoding_goes_on(
    model: WhisperModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: StaticStep, state: object) -> None:
        raise RuntimeError("capture is not permitted")

    expected = walked(TorchEngine(model, static=False), 2, 1)
    monkeypatch.setattr(StaticStep, "take", refuse)
    assert torch.allclose(walked(TorchEngine(model, static=True), 2, 1), expected, atol=1e-4, rtol=0)
    assert "capture is not permitted" in caplog.text
