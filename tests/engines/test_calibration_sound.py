"""Compute type int8-all: an encoder in 8 bits whose ranges come from made sound, near the exact one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from linnet.audio.mel import log_mel
from linnet.engines import openvino_runtime
from linnet.engines.calibration_sound import WINDOWS, calibration_windows
from linnet.engines.choice import openvino_numbers
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino_cache import Converted, Source, load_converted
from linnet.engines.openvino_export import Numbers
from linnet.engines.openvino_runtime import bf16_pays, encoder_compute
from linnet.models.whisper import load_module
from tiny_whispers import save_whisper


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = save_whisper(tmp_path_factory.mktemp("all8"), seed=1)
    return Source(folder, "m", lambda: load_module(folder, name="m", dtype=torch.float32))


@pytest.fixture(scope="module")
def made(source: Source) -> Converted:
    return load_converted(source, Numbers("all8", "f32"), lambda _: None)


def test_windows_are_always_the_same_and_all_different() -> None:
    first, again = calibration_windows(300, 80), calibration_windows(300, 80)
    assert len(first) == WINDOWS
    assert all(one.shape == (300, 80) and bool(one.isfinite().all()) for one in first)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert len({one.sum().item() for one in first}) == WINDOWS


def test_a_short_clip_is_among_them_and_the_others_are_full() -> None:
    for index, window in enumerate(calibration_windows(300, 80)):
        late = window[150:]
        floor = window.amax() - 2.0  # log10 clipped to 8 below the loudest, divided by 4
        assert bool((late == late.amin()).all()) == (index % 4 == 3)
        assert late.amin() >= floor - 1e-5


def test_they_move_every_band_as_far_as_noise_and_tones_do() -> None:
    spread = torch.cat(calibration_windows(300, 80)).std(0)
    tone = log_mel(0.1 * torch.sin(torch.arange(48_000) * 0.3) + 0.001 * torch.randn(48_000))
    assert bool((spread > 0.2).all())
    assert bool((spread > tone.std(0)).all())


def test_it_needs_no_recording_and_all_products_are_of_8_bits(made: Converted) -> None:
    products = [op for op in made.encoder.get_ops() if op.get_type_name() in ("MatMul", "Convolution")]
    types = Counter(op.get_type_name() for op in made.encoder.get_ops())
    assert types["FakeQuantize"] >= len(products) == 2 + 2 * 4 + 2 * 2
    assert Counter(op.get_type_name() for op in made.decoder.get_ops())["FakeQuantize"] == 0


def test_it_is_kept_and_made_once(made: Converted, source: Source) -> None:
    again = load_converted(source, Numbers("all8", "f32"), pytest.fail)
    assert (again.folder, again.numbers) == (made.folder, Numbers("all8", "f32"))
    assert openvino_numbers("int8-all").weights == "all8"


@pytest.mark.parametrize("frames", [200, 57])
def test_encoder_results_are_near_the_exact_ones(made: Converted, source: Source, frames: int) -> None:
    features = torch.stack([log_mel(_sweep(160 * frames, seed), 16) for seed in range(2)])
    exact = load_converted(source, Numbers("f32", "f32"), lambda _: None)
    got, want = (OpenVinoEngine(one, label="t", threads=1).encode(features).cross for one in (made, exact))
    assert _distance(got, want) < 0.12


def _sweep(size: int, seed: int) -> Tensor:
    """Sound [N] that the ranges were not read off: a tone from 100 Hz to 6 kHz in noise."""
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    frequencies = torch.logspace(2.0, 3.8, size, dtype=torch.float64)
    return (0.3 * (2 * torch.pi * frequencies / 16_000).cumsum(0).sin()).float() + 0.003 * noise


def _distance(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> float:
    """The relative error of all results together."""
    errors = sum((a.float() - b.float()).square().sum() for a, b in zip(got, want, strict=True))
    return float((errors / sum(one.float().square().sum() for one in want)) ** 0.5)


@pytest.mark.parametrize(
    ("name", "flags", "pays"),
    [
        ("Intel(R) Xeon(R) Processor", "avx512_bf16 avx512_vnni", False),
        ("Intel(R) Xeon(R) Platinum 8488C", "avx512_bf16 amx_bf16 amx_tile", True),
        ("AMD EPYC 9R14", "avx512_bf16", True),
        ("AMD EPYC 7R13", "avx2", False),
    ],
)
def test_an_encoder_is_in_bfloat16_where_that_is_faster(
    name: str, flags: str, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core:
        def get_property(self, _: str, key: str) -> object:
            return {"FULL_DEVICE_NAME": name}[key]

    monkeypatch.setattr(openvino_runtime, "core", Core)
    monkeypatch.setattr(openvino_runtime, "has_bf16", lambda: "bf16" in flags)
    monkeypatch.setattr(openvino_runtime, "_flags", lambda: frozenset(flags.split()))
    bf16_pays.cache_clear()
    try:
        assert bf16_pays() == pays
        assert encoder_compute("bf16") == ("bf16" if pays else "f32")
        assert encoder_compute("f32") == "f32"
    finally:
        bf16_pays.cache_clear()


def test_flags_are_those_of_this_machine() -> None:
    told = Path("/proc/cpuinfo")
    if not told.exists() or "flags" not in told.read_text():
        pytest.skip("no flags in /proc/cpuinfo here")
    assert "fpu" in openvino_runtime._flags()
