"""`linnet doctor`: check this machine, and report what is missing and how to install it."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from linnet.errors import ModelError
from linnet.machine import cpu_flags, free_memory, show_bytes, usable_cores, working_dtypes
from linnet.models.loading import first_line

if TYPE_CHECKING:
    import torch

Status = Literal["ok", "missing", "failed"]

_PACKAGES = (
    "torch",
    "transformers",
    "huggingface-hub",
    "tokenizers",
    "safetensors",
    "numpy",
    "soundfile",
    "soxr",
    "rapidfuzz",
)
_ENGINE_PACKAGES = {"openvino": "the fast engine on a CPU", "nncf": "weights in 8 bits"}
_EXTRAS = {
    "av": ("av", "mp4, m4a, aac and webm"),
    "accelerate": ("train", "training"),
    "matplotlib": ("plot", "training curves"),
    "sounddevice": ("mic", "a microphone for linnet stream"),
}  # package: (extra, purpose)
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "i8mm", "bf16")
_SPACE_FOR_DEFAULT = 2e9  # bytes: the default CPU model, on disk or in memory


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix` is the exact command, or advice, if it is not ok."""

    section: str
    name: str
    status: Status
    value: str
    fix: str | None = None


def doctor(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Check this machine: versions, devices, decoders, models. Exit status 0 when transcription works."""
    findings = examine()
    if as_json:
        works = not any(finding.status == "failed" for finding in findings)
        print(json.dumps({"works": works, "findings": [asdict(f) for f in findings]}, indent=2, ensure_ascii=False))
    else:
        _print_report(findings)
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """All findings. `failed` prevents the embedded model from transcribing; `missing` is only useful."""
    parts: tuple[Callable[[], Iterator[Finding]], ...] = (
        versions,
        processor,
        devices,
        decoders,
        places,
        models,
        transcription,
    )
    findings: list[Finding] = []
    for part in parts:
        try:
            findings += part()
        except (ImportError, OSError, RuntimeError) as error:
            name = part.__name__
            findings.append(Finding(name, "check", "failed", first_line(error), "pip install --force-reinstall linnet"))
    return findings


def versions() -> Iterator[Finding]:
    """Installed packages."""
    yield Finding(
        "versions", "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    yield Finding("versions", "linnet", "ok", metadata.version("linnet"))
    for package in _PACKAGES:
        version = _version(package)
        fix = None if version else f"pip install {package}"
        yield Finding("versions", package, "ok" if version else "failed", version or "not installed", fix)
    for package, purpose in _ENGINE_PACKAGES.items():
        version = _version(package)
        value = version or f"not installed, needed for {purpose}"
        fix = None if version else f"pip install {package}"
        yield Finding("versions", package, "ok" if version else "missing", value, fix)
    for package, (extra, purpose) in _EXTRAS.items():
        version = _version(package)
        value = version or f"not installed, needed for {purpose}"
        fix = None if version else f'pip install "linnet[{extra}]"'
        yield Finding("versions", package, "ok" if version else "missing", value, fix)


def processor() -> Iterator[Finding]:
    """Cores, instructions and free memory."""
    import torch

    present = cpu_flags()
    flags = [flag for flag in _CPU_FLAGS if flag in present]
    yield Finding("processor", "cores", "ok", f"{usable_cores()} usable, {torch.get_num_threads()} threads in PyTorch")
    yield Finding("processor", "features", "ok", f"{' '.join(flags) or 'unknown'}; PyTorch uses {_capability()}")
    free = free_memory()
    if free is not None:
        enough = free >= _SPACE_FOR_DEFAULT
        fix = None if enough else "close other programs, or use a small model: --model digits, --model tiny"
        yield Finding("processor", "free memory", "ok" if enough else "missing", show_bytes(free), fix)


def devices() -> Iterator[Finding]:
    """Devices and their precisions."""
    import torch

    yield _dtypes(torch.device("cpu"), "cpu")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = f"{torch.cuda.get_device_name(index)}, {show_bytes(free)} of {show_bytes(total)} free"
        yield _dtypes(torch.device("cuda", index), f"cuda:{index}", name)
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "this PyTorch is built for CPUs only" if built is None else f"PyTorch for CUDA {built} finds no GPU"
        fix = "on a machine with a GPU: install PyTorch from https://pytorch.org/get-started" if built is None else None
        yield Finding("devices", "cuda", "missing", why, fix or "check the driver: nvidia-smi")


def decoders() -> Iterator[Finding]:
    """Readable audio formats."""
    import soundfile

    formats = soundfile.available_formats()
    names = [name.lower() for name in ("WAV", "FLAC", "OGG", "MP3") if name in formats]
    names += ["opus"] if "OPUS" in soundfile.available_subtypes("OGG") else []
    yield Finding("audio", f"libsndfile {soundfile.__libsndfile_version__}", "ok", " ".join(names))
    if "MP3" not in formats:
        fix = "pip install --upgrade soundfile"
        yield Finding("audio", "mp3", "missing", "this libsndfile is older than 1.1 and cannot read mp3", fix)
    if _version("av"):
        import av

        wanted = {"mp4": "mov", "m4a": "mov", "webm": "matroska", "aac": "aac"}
        have = " ".join(name for name, container in wanted.items() if _has_container(av.formats_available, container))
        yield Finding("audio", f"PyAV {_version('av')}", "ok", have)


def places() -> Iterator[Finding]:
    """The folders for models, and their free space."""
    from huggingface_hub import constants

    from linnet.models.catalog import folder_size
    from linnet.models.hub import offline_reason

    cache = Path(constants.HF_HUB_CACHE)
    size = folder_size(cache) if cache.is_dir() else 0
    yield Finding("models", "cache", "ok", f"{cache} holds {show_bytes(size)}")
    existing = next(place for place in (cache, *cache.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    enough = free >= _SPACE_FOR_DEFAULT
    fix = None if enough else "free space (linnet models rm NAME), or set HF_HOME to a larger disk"
    yield Finding("models", "free disk", "ok" if enough else "missing", show_bytes(free), fix)
    yield Finding("models", "network", "ok", offline_reason() or f"used to fetch models from {constants.ENDPOINT}")


def models() -> Iterator[Finding]:
    """The embedded models and the default one."""
    from linnet.models.default import default_here
    from linnet.models.device import choose_device
    from linnet.models.resolve import default_model, embedded_names

    names = embedded_names()
    status: Status = "ok" if names else "failed"
    fix = None if names else "reinstall Linnet from its wheel: this copy has no weights"
    yield Finding("models", "embedded", status, " ".join(names) or "none", fix)
    on_gpu = choose_device("auto")[0].startswith("cuda")
    name = default_model(on_gpu)[0]
    try:
        here = default_here(on_gpu)
    except ModelError as error:
        yield Finding("models", "default", "missing", str(error), "set LINNET_MODEL to an available model, or unset it")
        return
    value = f"{name} is not on this disk yet" if here is None else f"{here.name} is installed"
    if here is not None and here.name != name:
        value += f"; {name}, the first choice, is not"
    yield Finding(
        "models", "default", "ok" if here else "missing", value, None if here else f"linnet models pull {name}"
    )


def transcription() -> Iterator[Finding]:
    """Whether the embedded models transcribe."""
    import time

    import numpy as np

    import linnet
    from linnet.models.resolve import embedded_names

    for name in embedded_names():
        begun = time.perf_counter()
        try:
            linnet.load(name, device="cpu", offline=True).transcribe(np.zeros(16_000, np.float32), sample_rate=16_000)
        except Exception as error:  # noqa: BLE001 - whatever it is, the report names it
            value = f"{type(error).__name__}: {first_line(error)}"
            yield Finding("transcription", name, "failed", value, "pip install --force-reinstall linnet")
        else:
            took = time.perf_counter() - begun
            yield Finding("transcription", name, "ok", f"loaded and transcribed 1 s in {took:.1f} s")


def _capability() -> str:
    import torch

    return str(torch.backends.cpu.get_cpu_capability())


def _dtypes(device: torch.device, name: str, what: str = "") -> Finding:
    """The precisions in which a device multiplies matrices, by trial."""
    working = working_dtypes(device)
    value = ", ".join(filter(None, [what, " ".join(working)]))
    ok = "float32" in working
    return Finding("devices", name, "ok" if ok else "failed", value or "no precision works", None)


def _has_container(available: set[str], container: str) -> bool:
    return any(container in name.split(",") for name in available)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _print_report(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            print(section)
        mark = {"ok": " ", "missing": "-", "failed": "!"}[finding.status]
        print(f" {mark} {finding.name:<{width}}  {finding.value}")
    wanting = [finding for finding in findings if finding.fix]
    if wanting:
        print("\nmissing (-) or broken (!), and how to fix it")
    for finding in wanting:
        print(f"   {finding.name:<{width}}  {finding.fix}")
    if any(finding.status == "failed" for finding in findings):
        print("\nlinnet: transcription with the embedded model does not work", file=sys.stderr)
