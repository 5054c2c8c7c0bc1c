"""The page of a compression: what it shows, what it leaves out, that it loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linnet.compression.curve import multiply_adds, size_curve
from linnet.compression.job import Compressed, CompressOptions, Study, compress
from linnet.compression.judging import Judgment
from linnet.compression.page import group_layers, render, write_page
from linnet.compression.report import Account
from linnet.compression.speed import EncoderTime
from linnet.scoring.bootstrap import bootstrap_interval
from tests.support.tiny_subjects import audio_of, whisper_subject

OPTIONS = CompressOptions(budget=0.5, step=4)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    subject = whisper_subject(tmp_path_factory.mktemp("w") / "w")
    return Study(subject, audio_of(subject), OPTIONS)


@pytest.fixture(scope="module")
def made(study: Study) -> Compressed:
    return compress(study, OPTIONS)


def test_a_bare_page_shows_sizes_and_layers_and_no_empty_section(made: Compressed) -> None:
    page = render(Account("<b>mine</b>", made, "speech.jsonl", "linnet compress mine --budget 0.5"))
    assert "&lt;b&gt;mine&lt;/b&gt;, compressed" in page
    assert "<b>mine" not in page
    assert f"{100 * made.share:.1f}%" in page
    assert all(one.name in page for one in made.reports)
    assert 'id="words"' not in page
    assert 'id="time"' not in page
    assert 'id="sizes"' not in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_was_measured_is_shown(study: Study, made: Compressed, tmp_path: Path) -> None:
    interval = bootstrap_interval([5, 3, 2], [40, 30, 30])
    account = Account(
        "mine",
        made,
        "speech.jsonl",
        "linnet compress mine",
        multiply_adds=(3_000_000_000, 1_500_000_000),
        bytes=(10_000_000, 6_000_000),
        curve=size_curve(study, OPTIONS, (0.8, 0.5)),
        judgments=[Judgment("8 kHz line", 3, 100, (10, 14), (interval, interval), interval, skipped=2)],
        times=[EncoderTime("f32", 20.0, 16.0, 1.25)],
    )
    write_page(tmp_path / "page.html", account)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for shown in (
        "8 kHz line",
        "10.00%",
        "14.00%",
        "+4.00",
        "2 utterances were left out",
        "1.25",
        "allow 2.00",
        "fast",
    ):
        assert shown in page, shown


def test_layers_are_grouped_by_what_they_are(made: Compressed) -> None:
    found = group_layers(made.reports)
    assert {one.name for one in found} == {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}
    assert sum(len(one.layers) for one in found) == len(made.reports)


def test_smaller_sizes_lose_more_and_an_impossible_one_ends_the_curve(study: Study) -> None:
    found = size_curve(study, OPTIONS, (0.9, 0.5, 0.001, 0.8))
    own = found["budget"]
    assert [one.name for one in own] == ["0.9", "0.5"]
    assert own[0].divergence < own[1].divergence
    assert [one.name for one in found["LiteASR's rule"]] == ["acc", "balanced", "fast"]


def test_multiply_adds_are_those_of_the_layers(study: Study, made: Compressed) -> None:
    dense, less = multiply_adds(study, made, study.held_out.examples[0])
    saved = 0
    frames: Any = study.subject.model.config.max_source_positions
    for one in made.reports:
        if one.rank is not None:
            rank, weights = one.rank, one.inputs * one.outputs
            now = rank * (one.inputs + one.outputs) - (rank * rank if one.form == "pivot" else 0)
            saved += frames * (weights - now)
    assert dense - less == saved
    config: Any = study.subject.model.config
    width, layers = config.d_model, config.encoder_layers
    convolutions = 3 * width * frames * (2 * config.num_mel_bins + width)
    linear = layers * frames * (4 * width**2 + 2 * width * config.encoder_ffn_dim)
    assert dense == convolutions + linear + 2 * layers * frames**2 * width  # of scores, and of values


def test_the_spectrum_rises_from_nothing_to_all_the_energy(made: Compressed) -> None:
    (group, *_) = group_layers(made.reports)
    report = group.layers[0]
    (first, *_) = group.spectrum.lines
    heights = [float(point.split(",")[1]) for point in first.points.split()]  # of SVG: down
    assert len(heights) == len(report.spectrum)
    assert heights == sorted(heights, reverse=True)
    kept = [1.0 - left for left in report.spectrum]
    ends = heights[0], heights[-1]
    for height, share in zip(heights, kept, strict=True):
        expected = ends[0] + (share - kept[0]) / (kept[-1] - kept[0]) * (ends[1] - ends[0])
        assert height == pytest.approx(expected, abs=0.1)
