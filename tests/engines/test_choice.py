"""Which engine `load` takes, what it says, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import linnet
from linnet.engines import choice
from linnet.engines.choice import EngineConfig
from linnet.engines.openvino import runtime
from linnet.errors import OptionError


def load(**wanted: Any) -> tuple[linnet.Recognizer, str]:
    told: list[str] = []
    recognizer = linnet.load("digits", device="cpu", notify=told.append, **wanted)
    return recognizer, "\n".join(told)


def test_a_cpu_takes_openvino_and_says_so() -> None:
    recognizer, told = load(threads=1)
    assert recognizer.engine_name == "openvino cpu f32"
    assert recognizer.dtype == "f32"
    assert "engine: openvino (the fastest on a CPU)" in told
    assert "compute type: f32 (exact, and fast for a small model)" in told


def test_a_large_model_takes_weights_of_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SMALL", 1)
    recognizer, told = load(threads=1)
    assert recognizer.engine_name == "openvino cpu int8"
    assert "compute type: int8 (weights in 8 bits: the fastest)" in told


def test_without_openvino_torch_serves_and_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.import_openvino.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    try:
        recognizer, told = load()
        assert recognizer.engine_name == "torch cpu float32"
        assert "engine: torch (OpenVINO cannot be used (" in told
        assert "pip install openvino nncf" in told
        with pytest.raises(linnet.LinnetError, match="pip install openvino nncf"):
            load(engine="openvino")
    finally:
        runtime.import_openvino.cache_clear()


def test_a_cpu_without_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "capabilities", lambda: frozenset(["FP32"]))
    recognizer, told = load(compute_type="int8", threads=1)
    assert recognizer.engine_name == "openvino cpu int8"
    assert "this CPU has no bfloat16 (AVX512_BF16 or AMX), so products are computed in float32" in told


def test_torch_takes_a_compute_type_or_a_dtype() -> None:
    assert load(engine="torch")[0].dtype == "float32"
    assert load(engine="torch", compute_type="bf16")[0].engine_name == "torch cpu bfloat16"
    recognizer, told = load(dtype="bfloat16")
    assert recognizer.engine_name == "torch cpu bfloat16"
    assert "engine: torch (requested by dtype bfloat16)" in told
    assert "dtype is deprecated: use --engine torch --compute-type bfloat16" in told


@pytest.mark.parametrize(("long", "short"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_a_compute_type_has_two_names(long: str, short: str) -> None:
    assert EngineConfig(compute_type=long) == EngineConfig(compute_type=short)
    assert load(compute_type=long, threads=1)[0].engine_name == f"openvino cpu {short}"
    assert load(engine="torch", compute_type=long)[0].engine_name == f"torch cpu {long}"


def test_float16_is_of_the_torch_engine() -> None:
    recognizer, told = load(compute_type="float16")
    assert recognizer.engine_name == "torch cpu float16"
    assert "engine: torch (the one that computes in float16)" in told


def test_threads_of_torch() -> None:
    before = torch.get_num_threads()
    try:
        load(engine="torch", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"engine": "onnx"}, "engine 'onnx' is unknown: use auto, torch or openvino"),
        ({"compute_type": "int4"}, "compute type 'int4' is unknown: use auto, f32, bf16, int8 or w8a8"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"engine": "openvino", "compute_type": "float16"}, "float16 needs the torch engine: use --engine torch"),
        ({"engine": "torch", "compute_type": "int8"}, "int8 needs the openvino engine"),
    ],
)
def test_what_does_not_go_together_is_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EngineConfig(**wanted)
    with pytest.raises(OptionError, match=message):
        load(**wanted)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"engine": "openvino", "dtype": "float16"}, "dtype float16 is for the torch engine"),
        ({"compute_type": "f32", "dtype": "float32"}, "give one of them"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown: use auto, float32, bfloat16, float16"),
    ],
)
def test_the_former_dtype_contradicts_nothing(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(**wanted)


def test_openvino_runs_on_the_cpu_only() -> None:
    with pytest.raises(OptionError, match="on the CPU only, not on cuda:0: add --device cpu"):
        choice.choose_engine("cuda:0", EngineConfig("openvino"))
    assert choice.choose_engine("cuda:0", EngineConfig())[0] == "torch"


def test_nothing_is_reported_to_anyone() -> None:
    """OpenVINO's packages take the stub of their telemetry, and its real module is not even imported."""
    runtime.import_openvino()
    utilities = sys.modules["openvino.tools.ovc.telemetry_utils"]
    assert utilities.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert sys.modules.get("openvino_telemetry", "absent") == "absent"


def test_the_wrong_family_is_refused(tmp_path: Path) -> None:
    told = '{"architectures": ["MoonshineForConditionalGeneration"], "model_type": "moonshine"}'
    (tmp_path / "config.json").write_text(told)
    with pytest.raises(OptionError, match=r"not a Whisper-family or CTC model, .*: use --engine torch"):
        linnet.load(str(tmp_path), device="cpu", engine="openvino")
