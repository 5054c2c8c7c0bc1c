"""A device and a precision, each with its reason, or an error that says what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from linnet.errors import OptionError
from linnet.models import device
from linnet.models.device import choose_device, choose_dtype

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_the_cpu_when_asked() -> None:
    assert choose_device("cpu") == ("cpu", "as asked")


@NO_GPU
def test_auto_without_a_gpu() -> None:
    assert choose_device() == ("cpu", "no GPU was found")


@NO_GPU
@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there(name: str) -> None:
    with pytest.raises(OptionError, match=f"device {name} was requested, but .*use --device cpu or --device auto"):
        choose_device(name)


def test_auto_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "GPU_FILES", ("null",))  # which every machine has
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Test GPU")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert choose_device() == ("cuda:0", "a GPU was found: Test GPU")
    assert choose_device("cuda:0")[0] == "cuda:0"
    with pytest.raises(OptionError, match="there are only 1"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "tpu", "cuda:x", "", "meta"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(OptionError, match=r"use (auto, cpu|--device cpu)"):
        choose_device(name)


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), torch.bfloat16), ((7, 5), torch.float16)])
def test_auto_dtype_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda where: capability)
    assert choose_dtype("auto", "cuda:0")[0] == expected


def test_dtypes_on_a_cpu() -> None:
    assert choose_dtype("auto", "cpu")[0] == torch.float32
    assert choose_dtype("bfloat16", "cpu") == (torch.bfloat16, "as asked")
    with pytest.raises(OptionError, match="dtype 'int8' is unknown: use auto, float32, bfloat16, float16"):
        choose_dtype("int8", "cpu")


def test_without_a_gpus_device_file_pytorch_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(device, "GPU_FILES", (str(tmp_path / "nvidia0"),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    assert choose_device("auto") == ("cpu", "no GPU was found")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == ("cpu", "no GPU was found")
