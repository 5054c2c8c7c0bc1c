"""The small CTC recipe: what is dealt, how features are warped, and that it learns, saves itself and hears again."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from linnet.data import Utterance
from linnet.errors import ModelError, OptionError
from linnet.training.context import RunContext
from linnet.training.folder import result_folder
from linnet.training.loop import run_recipe
from linnet.training.recipe import read_recipe
from recipes.ctc.model import BLANK, CtcNet, CtcTask, decode, frames_of, load
from recipes.ctc.recipe import CtcModel
from recipes.ctc.run import dealt, features_of, pad, warped

SIZE = CtcModel(words=("low", "high"), mels=20, width=24, hidden=16, dropout=0.0)
RECIPE = Path(__file__).parents[2] / "recipes/ctc/recipe.py"


@given(st.integers(0, 3), st.lists(st.integers(1, 50), min_size=1, max_size=70), st.integers(1, 9))
def test_a_pass_takes_each_row_once(turn: int, lengths: list[int], size: int) -> None:
    batches = dealt(7, turn, tuple(lengths), size)
    met = Counter(row for rows in batches for row in rows)
    assert set(met.values()) == {1}
    assert len(met) == (len(lengths) if len(lengths) < size else len(lengths) // size * size)
    assert {len(rows) for rows in batches} == {min(size, len(lengths))}
    assert dealt(7, turn, tuple(lengths), size) == batches


def test_batches_are_of_like_lengths_and_passes_differ() -> None:
    lengths = tuple(np.random.default_rng(0).integers(1, 500, 640).tolist())
    first, second = dealt(1, 0, lengths, 16), dealt(1, 1, lengths, 16)
    spread = np.mean([max(lengths[row] for row in rows) - min(lengths[row] for row in rows) for rows in first])
    assert spread < 100  # of rows drawn at random: 440
    assert first != second


def by_hand(features: np.ndarray, slower: float, higher: float, count: int) -> np.ndarray:
    """Linear interpolation of each value."""
    frames, bins = features.shape
    times = np.minimum(np.arange(count) / slower, frames - 1)
    heights = np.minimum(np.arange(bins) * higher, bins - 1)
    across = np.stack([np.interp(heights, np.arange(bins), row) for row in features])
    return np.stack([np.interp(times, np.arange(frames), across[:, at]) for at in range(bins)], axis=1)


def test_warping_interpolates_frequencies_and_time() -> None:
    features = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(0))
    frames = torch.tensor([40, 40, 40])
    found, made = warped(features, frames, np.random.default_rng(5), 0.2, 0.3)
    draw = np.random.default_rng(5)
    slower = np.exp(draw.uniform(-1, 1, 3) * math.log1p(0.3))
    higher = np.exp(draw.uniform(-1, 1, 3) * math.log1p(0.2))
    for row in range(3):
        count = int(made[row])
        assert count == round(40 * float(np.float32(slower[row])))
        expected = by_hand(features[row].numpy(), slower[row], higher[row], count)
        assert np.allclose(found[row, :count], expected, atol=1e-4)
        assert not found[row, count:].any()
    same, kept = warped(features, frames, np.random.default_rng(5), 0.0, 0.0)
    assert torch.equal(same, features)
    assert torch.equal(kept, frames)


def test_the_best_words_are_read_without_repeats_and_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    net = CtcNet(SIZE)
    path = torch.tensor([[1, 1, BLANK, 1, 2, 2, BLANK, 2]])
    monkeypatch.setattr(net, "forward", lambda features: torch.nn.functional.one_hot(path, 3).float())
    assert decode(SIZE, net, torch.zeros(1, 32, 20), torch.tensor([32])) == ["low low high high"]
    assert decode(SIZE, net, torch.zeros(1, 32, 20), torch.tensor([20])) == ["low low high"]  # five frames of the eight


def test_a_frame_of_the_net_is_four_of_the_features() -> None:
    net = CtcNet(SIZE).eval()
    for frames in (4, 7, 8, 101):
        assert net(torch.zeros(1, frames, 20)).shape == (1, frames_of(frames), 3)


def tones(folder: Path, count: int) -> list[Utterance]:
    """Words that are tones of 200 and 1,500 Hz."""
    rng, found = np.random.default_rng(0), []
    for at in range(count):
        words = rng.choice(["low", "high"], size=rng.integers(1, 4)).tolist()
        parts = [np.zeros(1600)]
        for word in words:
            hertz = {"low": 200, "high": 1500}[word] * rng.uniform(0.9, 1.1)
            parts += [np.sin(2 * np.pi * hertz * np.arange(3200) / 16_000), np.zeros(1600)]
        sound = np.concatenate(parts)
        path = folder / f"{at}.wav"
        soundfile.write(path, 0.3 * (sound + 0.01 * rng.standard_normal(len(sound))), 16_000)
        found.append(Utterance(str(path), text=" ".join(words)))
    return found


def test_it_learns_saves_itself_and_hears_again(tmp_path: Path) -> None:
    rows = tones(tmp_path, 48)
    lines = [f'{{"audio": "{row.audio}", "text": "{row.text}"}}\n' for row in rows]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    (tmp_path / "recipe.yaml").write_text(
        f"""
task: {RECIPE}:CtcRecipe
model: {{words: [low, high], mels: 20, width: 24, hidden: 16, dropout: 0.0}}
data: {{train: [{{path: {tmp_path}/train.jsonl}}], batch: 8, warp: 0.05, stretch: 0.05}}
optimization: {{steps: 120, learning_rate: 0.02, warmup: 0.1}}
run: {{output: {tmp_path}/run, workers: 0, device: cpu, log_every: 30, checkpoint_every: 1000}}
"""
    )
    recipe = read_recipe(tmp_path / "recipe.yaml")
    log = list(run_recipe(recipe, RunContext()))
    assert log[-1]["loss"] < 0.1 * log[0]["loss"]
    heard = recipe.transcribe(result_folder(recipe), rows)  # type: ignore[attr-defined]
    assert np.mean([text == row.text for text, row in zip(heard, rows, strict=True)]) > 0.9


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    task = CtcTask(SIZE)
    folder = task.export(tmp_path / "model")
    size, net = load(folder)
    assert size == SIZE
    features, frames = pad([torch.randn(30, 20), torch.randn(18, 20)])
    assert features.shape == (2, 30, 20)
    assert frames.tolist() == [30, 18]
    assert torch.equal(net(features), task.model.eval()(features))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="not a model of the recipe ctc"):
        load(folder)


def test_features_have_no_level(tmp_path: Path) -> None:
    (one,) = tones(tmp_path, 1)
    loud = features_of(one, 20)
    samples, rate = soundfile.read(one.audio)
    soundfile.write(tmp_path / "soft.wav", 0.1 * samples, rate, subtype="FLOAT")
    soft = features_of(Utterance(str(tmp_path / "soft.wav")), 20)
    assert torch.allclose(loud, soft, atol=0.05)
    assert loud.mean(0).abs().max() < 1e-4


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="at least one"):
        CtcModel(words=())
    with pytest.raises(OptionError, match="width"):
        CtcModel(words=("one",), width=0)
