"""Which settings are measured, and on what."""

from __future__ import annotations

from pathlib import Path

import pytest

from linnet.errors import OptionError
from linnet.evaluation.speed import Setting, Speed, fastest, recorded, settings, synthetic
from linnet.evaluation.speed_process import Timing
from linnet.models.resolve import resolve


def test_auto_is_all_that_an_engine_has() -> None:
    chosen = settings(["auto"], ["auto"], [1, 8])
    assert [(one.engine, one.compute_type) for one in chosen if one.batch_size == 8] == [
        ("torch", "f32"),
        ("torch", "bf16"),
        ("openvino", "f32"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
    ]
    assert len(chosen) == 10


def test_what_is_named_is_measured_once() -> None:
    assert settings(["torch", "torch"], ["int8"], [4, 4]) == [Setting("torch", "int8", 4)]


@pytest.mark.parametrize(
    ("engines", "types", "sizes", "message"),
    [
        (["onnx"], ["auto"], [1], "engine 'onnx' is unknown: use auto, torch or openvino"),
        (["auto"], ["int4"], [1], "compute type 'int4' is unknown: use auto, f32, bf16, int8 or w8a8"),
        (["auto"], ["auto"], [1, 0], "batch sizes must be at least 1, got 1, 0"),
    ],
)
def test_unknown_settings(engines: list[str], types: list[str], sizes: list[int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        settings(engines, types, sizes)


def test_the_synthetic_sound_fills_the_largest_batch() -> None:
    work = synthetic(resolve("digits", offline=True), 20.0, windows=3)
    assert [len(piece) for piece in work.pieces] == [160_000] * 3
    assert (work.tokens, work.end) == (30, 398)
    assert work.description == "synthetic audio, 3 windows of 10 s with 30 tokens each"
    assert len(synthetic(resolve("digits", offline=True), 60.0, windows=3).pieces) == 6


def test_a_recording_is_cut_to_its_first_seconds(root: Path) -> None:
    work = recorded(root / "examples" / "digits-long.flac", 2.5)
    assert (work.seconds, work.tokens) == (2.5, None)
    assert work.description.endswith("digits-long.flac, 2.5 s")


def test_the_fastest() -> None:
    def speed(engine: str, work_seconds: float) -> Speed:
        timing = Timing(60.0, work_seconds, 1, 1.0, None, engine, ())
        return Speed(Setting(engine, "f32", 1), timing)

    quick = speed("openvino", 2.0)
    assert quick.rtfx == 30.0
    assert fastest([Speed(Setting("a", "f32", 1), reason="missing"), speed("torch", 3.0), quick]) is quick
    assert fastest([Speed(Setting("a", "f32", 1), reason="missing")]) is None
