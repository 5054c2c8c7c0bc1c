"""Compressing small random models whole: budgets are kept, full rank changes nothing, everything can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.compression.factors import analyze
from linnet.compression.job import CompressOptions, Study, build, compress, put_in
from linnet.compression.sites import dense_of
from linnet.compression.subject import Subject
from linnet.errors import ModelError, OptionError
from linnet.models.lowrank.layers import plan_of, replace_layers
from tests.support.tiny_speech import save_moonshine, save_parakeet, save_wav2vec2
from tests.support.tiny_subjects import audio_of, other_subject, whisper_subject


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    subject = whisper_subject(tmp_path_factory.mktemp("w") / "w")
    return Study(subject, audio_of(subject), CompressOptions(budget=0.5, step=4))


def encoder_parameters(subject: Subject) -> int:
    return sum(v.numel() for n, v in subject.encoder.named_parameters() if "embed_positions" not in n)


@pytest.mark.parametrize("form", ["pair", "pivot"])
@pytest.mark.parametrize("budget", [0.9, 0.7, 0.5])
def test_the_budget_is_kept_and_told(study: Study, budget: float, form: Any) -> None:
    before = encoder_parameters(study.subject)
    made = compress(study, CompressOptions(budget=budget, form=form, step=4))
    assert made.parameters[0] == before
    with put_in(study.subject, made.layers):
        assert encoder_parameters(study.subject) == made.parameters[1]
        assert plan_of(study.subject.model).keys() == made.layers.keys()
    assert budget - 0.1 < made.share <= budget
    assert encoder_parameters(study.subject) == before  # the model is dense again
    assert made.divergence > 0


def test_more_budget_and_pivots_lose_less(study: Study) -> None:
    made = [compress(study, CompressOptions(budget=one, form="pivot", step=4)).divergence for one in (0.4, 0.6, 0.9)]
    assert made == sorted(made, reverse=True)


@pytest.mark.parametrize("weighted", [True, False])
def test_full_rank_is_the_dense_model(study: Study, weighted: bool) -> None:
    analyses = study.analyses(priced=True, weighted=weighted)
    ranks: dict[str, int | None] = {site.name: min(site.inputs, site.outputs) for site in study.sites}
    made = build(study, analyses, ranks, CompressOptions(budget=0.5, form="pair"))
    assert made.divergence < 1e-9
    example = study.held_out.examples[0]
    dense = study.subject.logits(example)
    with put_in(study.subject, made.layers):
        assert torch.allclose(study.subject.logits(example), dense, atol=1e-5)


def test_thresholds_are_liteasr(study: Study) -> None:
    made = compress(study, CompressOptions(thresholds=(0.9, 0.95)))
    assert {one.form for one in made.reports if one.rank} == {"pair"}
    assert all(one.left_out < 0.1 for one in made.reports)
    assert all(one.rank is None or one.rank % 16 == 0 for one in made.reports)


def test_it_can_be_repeated(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        subject = whisper_subject(tmp_path / name)
        study = Study(subject, audio_of(subject), CompressOptions(budget=0.5, step=4))
        found.append(compress(study, CompressOptions(budget=0.5, step=4)))
    first, second = ({n: v for m, layer in one.layers.items() for n, v in layer.named_parameters(m)} for one in found)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert found[0].divergence == found[1].divergence


def test_windows_are_transcribed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose gradients are asked for in the pass that measures the encoder, all others for the decoder."""
    monkeypatch.setattr("linnet.compression.subject.MOST_TOKENS", 64)  # a decoder's layers need that many
    subject = whisper_subject(tmp_path / "w")
    audio, heard = audio_of(subject), []
    transcribed = subject.transcribed
    monkeypatch.setattr(subject, "transcribed", lambda one: heard.append(1) or transcribed(one))  # type: ignore[func-returns-value]
    options = CompressOptions(budget=0.5, step=4, fisher_windows=3)
    study = Study(subject, audio, options)
    assert audio.transcripts.keys() == {0, 1, 2}
    for index, tokens in audio.transcripts.items():
        assert torch.equal(tokens, transcribed(audio.teaching[index]).tokens)  # type: ignore[arg-type]
    before = len(heard)
    assert study.fisher
    assert len(heard) == before
    Study(subject, audio, options, part="decoder")
    assert len(heard) == before + 1 + len(audio.teaching) - 3 + len(audio.held_out)  # 1 to see which layers run


def test_a_study_can_be_taken_up_again(study: Study) -> None:
    again = Study(study.subject, study.audio, CompressOptions(budget=0.5, step=4), state=study.state())
    options = CompressOptions(budget=0.6, step=4)
    assert compress(again, options).divergence == compress(study, options).divergence


def test_budgets_and_presets_that_make_no_sense_are_refused(study: Study) -> None:
    with pytest.raises(OptionError, match=r"either thresholds .* or a budget"):
        CompressOptions()
    with pytest.raises(OptionError, match=r"between 0 and 1; got 1\.5"):
        CompressOptions(budget=1.5)
    with pytest.raises(OptionError, match="preset 'small' is unknown: use acc, balanced, fast"):
        CompressOptions.preset("small")
    with pytest.raises(OptionError, match=r"a budget of 0.05 cannot be met: .* give at least 0\.\d+"):
        compress(study, CompressOptions(budget=0.05, step=4))


def test_a_compressed_model_is_refused(tmp_path: Path) -> None:
    subject = whisper_subject(tmp_path / "w")
    audio = audio_of(subject)
    options = CompressOptions(budget=0.6, step=4)
    replace_layers(subject.model, compress(Study(subject, audio, options), options).layers)
    with pytest.raises(ModelError, match="is compressed already: compress the model that it was made from"):
        Study(subject, audio, options)


@pytest.mark.parametrize("save", [save_moonshine, save_parakeet, lambda folder: save_wav2vec2(folder, norm="layer")])
def test_other_families_are_compressed(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "m")
    subject = other_subject(tmp_path / "m")
    options = CompressOptions(budget=0.95, step=2)
    made = compress(Study(subject, audio_of(subject, seconds=2.5), options), options)
    assert made.layers
    assert made.share <= 0.95
    assert made.places > 0


def test_the_decoder_is_compressed_too(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured on its own transcripts: what cross-attention reads without padding, what else it reads by token."""
    monkeypatch.setattr("linnet.compression.subject.MOST_TOKENS", 64)  # each layer needs twice its width of them
    options = CompressOptions(budget=0.7, step=4)
    audio = replace(study.audio, transcripts={})
    decoder = Study(study.subject, audio, options, part="decoder")
    assert len(decoder.sites) == 20  # q, k, v, out twice, and two of the MLP, in two layers
    made = compress(decoder, options)
    assert 0.6 < made.share <= 0.7
    named = study.subject.model.get_decoder().named_parameters()
    assert made.parameters[0] == sum(value.numel() for name, value in named if "embed" not in name)
    frames = {site.name: decoder.measured[site.name].count for site in decoder.sites}
    tokens = sum(len(study.subject.transcribed(one).tokens) - 1 for one in study.audio.teaching)  # type: ignore[arg-type]
    assert frames["model.decoder.layers.0.encoder_attn.k_proj"] == 80 * len(study.audio.teaching)
    assert frames["model.decoder.layers.0.self_attn.k_proj"] == tokens
    # an error in a row costs what the Fisher of one row says, as often as there are rows
    even = {site.name: torch.eye(site.outputs, dtype=torch.float64) for site in decoder.sites}
    priced = Study(study.subject, audio, options, part="decoder", state={**decoder.state(), "fisher": even})
    for name, rows in (("encoder_attn.k_proj", 80 * len(study.audio.teaching)), ("self_attn.k_proj", tokens)):
        site = next(one for one in decoder.sites if one.name.endswith(f"layers.0.{name}"))
        of_one = analyze(dense_of(decoder.subject, site), decoder.measured[site.name], even[site.name])
        of_all = priced.analyses(priced=True, weighted=True)[site.name]
        assert of_all.loss(4) / of_one.loss(4) == pytest.approx(rows / max(frames.values()))
