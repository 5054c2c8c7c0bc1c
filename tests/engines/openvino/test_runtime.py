"""What an encoder is computed in on this CPU and on others, and that weights in 8 bits stay near the exact result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from linnet.engines.openvino import OpenVinoEngine, runtime
from linnet.engines.openvino.cache import ModelSource, compile_converted, load_converted
from linnet.engines.openvino.formats import Precision
from linnet.engines.openvino.runtime import bf16_pays, encoder_compute
from linnet.models.whisper import load_module
from tests.support.tiny_whispers import random_features, save_whisper


@pytest.mark.parametrize(("weights", "most"), [("int8", 0.02), ("f16", 0.005)])
def test_an_encoder_in_float32_feeds_a_decoder_in_bfloat16(weights: str, most: float, tmp_path: Path) -> None:
    """Its results have the decoder's precision, and are nearer to the exact ones than those of bfloat16."""
    folder = save_whisper(tmp_path, seed=1)
    source = ModelSource(folder, "m", lambda: load_module(folder, name="m", dtype=torch.float32))
    if not runtime.has_bf16() or bf16_pays():
        pytest.skip("on this CPU a bf16 encoder is computed in bf16")
    features = random_features(2, seed=99)
    engines = [
        OpenVinoEngine(compile_converted(load_converted(source, precision, lambda _: None), 1), label="t")
        for precision in (Precision(weights, "bf16"), Precision("f32", "f32"))
    ]
    got, want = (engine.encode(features).cross for engine in engines)
    assert {one.dtype for one in got} == {torch.bfloat16}
    errors = sum((a.float() - b).square().sum() for a, b in zip(got, want, strict=True))
    assert (errors / sum(one.square().sum() for one in want)) ** 0.5 < most  # bfloat16: 0.016 and 0.007


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

    monkeypatch.setattr(runtime, "core", Core)
    monkeypatch.setattr(runtime, "has_bf16", lambda: "bf16" in flags)
    monkeypatch.setattr(runtime, "cpu_flags", flags.split)
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
    assert "fpu" in runtime.cpu_flags()
