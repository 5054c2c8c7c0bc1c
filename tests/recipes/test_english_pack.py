"""A random Whisper model, its statistics, and what is packed of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor, nn

from linnet.models.packed import FILE, read_packed
from linnet.models.resolve import resolve
from linnet.models.whisper import WhisperModel, load_whisper
from recipes.english import pack as module
from recipes.english.pack import Settings, compact_tokenizer, matrices, pack_to_size, packed_size, write_folder
from recipes.english.statistics import HEAD, Statistics, Window, gather, rows_of
from recipes.english.windows import windows, write_down
from tests.support.tiny_whispers import POSITIONS, random_features, save_whisper


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("english") / "model", languages=())


@pytest.fixture(scope="module")
def model(source: Path) -> WhisperModel:
    return load_whisper(source, name="random")


@pytest.fixture(scope="module")
def calibration(model: WhisperModel) -> list[Window]:
    features = random_features(6).transpose(1, 2)
    tokens = write_down(model, features, times=False)
    return [Window(row[None], said, POSITIONS) for row, said in zip(features, tokens, strict=True)]


@pytest.fixture(scope="module")
def statistics(model: WhisperModel, calibration: list[Window]) -> Statistics:
    return gather(model.module.requires_grad_(True), calibration)


def test_a_convolution_is_a_product_with_what_its_steps_see() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv1d(5, 7, 3, stride=2, padding=1), torch.randn(1, 5, 12)
    product = rows_of(layer, x) @ layer.weight.reshape(7, -1).T + layer.bias
    torch.testing.assert_close(product, layer(x)[0].T)


@pytest.mark.parametrize("times", [False, True])
def test_it_writes_down_what_is_likeliest_step_by_step(model: WhisperModel, times: bool) -> None:
    features, vocabulary = random_features(3, seed=5).transpose(1, 2), model.vocabulary
    for one, found in zip(features, write_down(model, features, times=times), strict=True):
        twin = [vocabulary.start] if times else [vocabulary.start, vocabulary.no_timestamps]
        while len(twin) < model.max_length and vocabulary.end not in twin:
            with torch.no_grad():  # all anew in each step
                said = model.module(one[None], decoder_input_ids=torch.tensor([twin])).logits[0, -1]
            allowed = [token for token in range(vocabulary.size) if token != vocabulary.no_timestamps]
            if times and len(twin) == 1:
                allowed = list(range(vocabulary.timestamp_begin, vocabulary.size))
            twin.append(max(allowed, key=lambda token: float(said[token])))
        assert found.tolist() == (twin if vocabulary.end in twin else [*twin, vocabulary.end])


def test_the_moments_are_sums_over_all_windows(
    model: WhisperModel, calibration: list[Window], statistics: Statistics
) -> None:
    seen: list[Tensor] = []
    layer = model.module.model.decoder.layers[1].fc2
    hook = layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][0].double()))
    shares: list[Tensor] = []
    with torch.no_grad():
        for window in calibration:
            logits = model.module(window.features, decoder_input_ids=window.tokens[None, :-1]).logits[0]
            shares.append(logits.double().softmax(-1))
    hook.remove()
    rows, chances = torch.cat(seen), torch.cat(shares)
    found = statistics.layers["model.decoder.layers.1.fc2.weight"]
    torch.testing.assert_close(found.inputs, rows.T @ rows, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(statistics.heard, (chances * (1 - chances)).sum(0), rtol=1e-3, atol=1e-5)
    assert statistics.used.sum() == statistics.tokens == len(rows)
    assert all(bool((moments.outputs > 0).any()) for moments in statistics.layers.values())


def divergence(module: Any, weights: dict[str, Tensor], calibration: list[Window]) -> float:
    """How far the predictions move, in nats for a token, when these weights stand in."""
    exact = {name: value.clone() for name, value in module.state_dict().items()}
    total, tokens = 0.0, 0
    with torch.no_grad():
        for window in calibration:
            inputs = {"input_features": window.features, "decoder_input_ids": window.tokens[None, :-1]}
            module.load_state_dict(exact)
            before = module(**inputs).logits[0].log_softmax(-1)
            module.load_state_dict(weights, strict=False)
            after = module(**inputs).logits[0].log_softmax(-1)
            total += float((before.exp() * (before - after)).sum())
            tokens += len(before)
    module.load_state_dict(exact)
    return total / tokens


def test_more_bytes_bring_the_predictions_nearer(
    model: WhisperModel,
    source: Path,
    calibration: list[Window],
    statistics: Statistics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PLAIN", tuple(name for name in module.PLAIN if (source / name).is_file()))
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    weights = {name: value.detach() for name, value in model.module.named_parameters()}
    rounded, files = matrices(weights, statistics, Settings()), compact_tokenizer(source)
    fixed = packed_size(module.pack(weights, {}, 1.0, files)) - 2 * sum(m.weight.numel() for m in rounded.values())
    numbers = sum(matrix.weight.numel() for matrix in rounded.values())
    moved = []
    for bits in (2, 4, 6):
        size = fixed + 30_000 + numbers * bits // 8
        packed, _ = pack_to_size(weights, rounded, size, files)
        assert 0.98 * size < packed_size(packed) <= size
        found = {name: torch.from_numpy(value).float() for name, value in packed.weights().items()}
        moved.append(divergence(model.module, found, calibration))
    assert moved[0] > 2 * moved[1] > 4 * moved[2] > 0
    write_folder(packed, source, tmp_path / "few", "---\nlicense: mit\n---\n")
    assert read_packed(tmp_path / "few" / FILE).codes[HEAD].shape == tuple(weights[HEAD].shape)
    assert "OpenAI" in (tmp_path / "few" / "LICENSE").read_text(encoding="utf-8")
    loaded = load_whisper(resolve(str(tmp_path / "few")).path, name="few")
    assert loaded.vocabulary.tokenizer.get_vocab() == model.vocabulary.tokenizer.get_vocab()


@pytest.mark.parametrize("size", [1, 1_000])
def test_a_size_that_cannot_be_is_refused(size: int, model: WhisperModel, statistics: Statistics) -> None:
    weights = {name: value.detach() for name, value in model.module.named_parameters()}
    with pytest.raises(ValueError, match=f"no step packs this model into {size:,} bytes"):
        pack_to_size(weights, matrices(weights, statistics, Settings()), size, {})


def test_windows_of_recordings(model: WhisperModel, tmp_path: Path) -> None:
    lines = []
    for number in range(3):
        sound = 0.1 * torch.randn(16_000 * (number + 1), generator=torch.Generator().manual_seed(number)).numpy()
        soundfile.write(tmp_path / f"{number}.wav", sound, 16_000)
        lines.append(json.dumps({"audio": f"{number}.wav"}))
    (tmp_path / "all.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = list(windows(model, tmp_path / "all.jsonl", limit=2))
    assert [window.frames for window in found] == [50, 100]  # of a window of 2 s
    assert all(window.tokens[0] == model.vocabulary.start for window in found)
    assert all(window.tokens[-1] == model.vocabulary.end for window in found)
    assert found[0].features.shape == (1, 16, 200)
