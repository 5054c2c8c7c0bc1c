"""What is measured of a model: sites, moments without padding, the Fisher of outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from linnet.compression.calibration import measure, side_of
from linnet.compression.fisher import fisher, sampled_loss
from linnet.compression.sites import find_sites
from linnet.errors import ModelError, OptionError
from tests.support.tiny_speech import save_moonshine, save_parakeet, save_wav2vec2
from tests.support.tiny_subjects import audio_of, other_subject, sound, whisper_subject


def test_whisper_has_six_sites_in_each_layer(tmp_path: Path) -> None:
    subject = whisper_subject(tmp_path / "w")
    sites = find_sites(subject, audio_of(subject, 1).teaching[0])
    own = [site.name.removeprefix("model.encoder.layers.0.") for site in sites[:6]]
    assert sorted(own) == sorted([*(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")), "fc1", "fc2"])
    assert len(sites) == 12
    readers = {
        site.shares for site, name in zip(sites[:6], own, strict=True) if name[-6:] in ("q_proj", "k_proj", "v_proj")
    }
    assert len(readers) == 1  # they read the same, and it is measured once
    assert len({site.shares for site in sites[:6]}) == 4
    assert [site.kind for site in sites[:6]].count("mlp") == 2
    assert {side_of(site) for site in sites if site.name.endswith("fc2")} == {"outputs"}


@pytest.mark.parametrize(("save", "least"), [(save_moonshine, 6), (save_parakeet, 12)])
def test_other_families_have_sites(tmp_path: Path, save: Any, least: int) -> None:
    save(tmp_path / "m")
    subject = other_subject(tmp_path / "m")
    sites = find_sites(subject, subject.example(sound(2.0)))
    assert len(sites) >= least
    assert {site.kind for site in sites} == {"attention", "mlp"}
    assert not any("pos" in site.name.rpartition(".")[2] for site in sites)


def test_wav2vec2_has_sites(tmp_path: Path) -> None:
    save_wav2vec2(tmp_path / "m", norm="layer")
    subject = other_subject(tmp_path / "m")
    assert len(find_sites(subject, subject.example(sound(2.0)))) >= 6


def test_a_model_without_blocks_names_what_was_looked_for(tmp_path: Path) -> None:
    subject = whisper_subject(tmp_path / "w")
    subject.encoder.layers = torch.nn.ModuleList()
    with pytest.raises(ModelError, match=r"torch\.nn\.Linear.*torch\.nn\.ModuleList.*WhisperEncoder"):
        find_sites(subject, audio_of(subject, 1).teaching[0])


@pytest.mark.parametrize("include_padding", [True, False])
def test_moments_are_those_of_the_frames_that_hold_sound(tmp_path: Path, include_padding: bool) -> None:
    """Against all activations kept and put in one matrix."""
    subject = whisper_subject(tmp_path / "w")
    audio = audio_of(subject, 6)
    sites = find_sites(subject, audio.teaching[0])
    kept: dict[str, list[Tensor]] = {site.name: [] for site in sites}
    hooks = [
        subject.model.get_submodule(name).register_forward_hook(lambda _, __, made, rows=rows: rows.append(made[0]))
        for name, rows in kept.items()
    ]
    with torch.no_grad():
        for example in audio.teaching:
            subject.encode(example)
    for hook in hooks:
        hook.remove()
    frames = [example.frames for example in audio.teaching]
    assert all(count == 80 for count in frames)  # 1.6 s, of windows that are longer
    found = measure(subject, audio.teaching, sites, include_padding=include_padding)
    for site in sites:
        limit = None if include_padding else 80
        rows = torch.cat([one[:limit] for one in kept[site.name]])
        layer: Any = subject.model.get_submodule(site.name)
        one = found[site.name]
        covariance = one.covariance if one.side == "outputs" else layer.weight @ one.covariance @ layer.weight.T
        assert one.count == len(rows)
        assert torch.allclose(covariance, torch.cov(rows.T, correction=0), rtol=1e-8, atol=1e-8)


def test_too_little_audio_says_how_much_more(tmp_path: Path) -> None:
    subject = whisper_subject(tmp_path / "w")
    examples = [replace(one, frames=10) for one in audio_of(subject, 3).teaching]
    sites = find_sites(subject, examples[0])
    with pytest.raises(OptionError, match=r"20 frames at .* give at least 12\.8 times as much"):
        measure(subject, examples, sites)


def test_fisher_is_the_sum_of_outer_products_of_the_gradients_of_single_frames(tmp_path: Path) -> None:
    """A slow twin: the gradient of the loss by an offset added to one frame of one layer's output, frame by frame."""
    subject = whisper_subject(tmp_path / "w")
    example = subject.transcribed(audio_of(subject, 1).teaching[0])
    example = replace(example, frames=12)
    site = [one for one in find_sites(subject, example) if one.name.endswith("1.fc1")]
    found = fisher(subject, [example], site, seed=5)[site[0].name]
    generator = torch.Generator().manual_seed(5)
    offset = torch.zeros(site[0].outputs, dtype=torch.float64, requires_grad=True)
    twin = torch.zeros_like(found)
    layer: Any = subject.model.get_submodule(site[0].name)
    for frame in range(12):

        def shift(_: Any, __: Any, made: Tensor, frame: int = frame) -> Tensor:
            moved = made.clone()
            moved[0, frame] += offset
            return moved

        hook = layer.register_forward_hook(shift)
        loss = sampled_loss(subject.logits(example), generator.manual_seed(5))
        hook.remove()
        (gradient,) = torch.autograd.grad(loss, offset)
        twin += torch.outer(gradient, gradient) / 12
    assert float(twin.abs().max()) > 0
    assert torch.allclose(found, twin, rtol=1e-6, atol=1e-9 * float(twin.abs().max()))


def test_labels_are_drawn_from_the_predictions() -> None:
    """The expectation of the squared gradient by the logits is that of the softmax's own covariance."""
    logits = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float32, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(3, 3)
    for _ in range(4000):
        (gradient,) = torch.autograd.grad(sampled_loss(logits, generator), logits)
        total += torch.outer(gradient[0], gradient[0]) / 4000
    chances = logits.detach().softmax(-1)[0]
    assert torch.allclose(total, torch.diag(chances) - torch.outer(chances, chances), atol=0.02)
