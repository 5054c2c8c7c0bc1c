"""Choose the engine and precision for a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.engines.protocol import Engine
from linnet.errors import OptionError
from linnet.machine import DTYPES
from linnet.models.checkpoint import weight_files
from linnet.models.device import choose_dtype
from linnet.models.families import CTC, WHISPER, family_of
from linnet.models.resolve import ModelRef
from linnet.models.whisper import WhisperModel, load_module, load_whisper
from linnet.notices import Notify

if TYPE_CHECKING:
    import torch

    from linnet.engines.openvino.cache import ModelSource
    from linnet.engines.openvino.formats import Precision
    from linnet.models.speech import SpeechModel

ENGINES = ("auto", "torch", "openvino")
COMPUTE_TYPES = ("auto", "f32", "bf16", "int8", "w8a8")
SMALL = 32 * 2**20  # bytes of weights below which 8 bits save nothing and double the conversion time

_LONG_NAMES = {"float32": "f32", "bfloat16": "bf16", "float16": "float16"}  # as PyTorch calls them
_TORCH_DTYPES = {"auto": "auto", "f32": "float32", "bf16": "bfloat16", "float16": "float16"}
_WEIGHTS = {"f32": "f32", "bf16": "f16", "int8": "int8", "w8a8": "w8a8"}


@dataclass(frozen=True)
class EngineConfig:
    """The requested engine. Raises `OptionError` for unknown or contradictory options."""

    engine: str = "auto"
    compute_type: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        require_engine(self.engine)
        object.__setattr__(self, "compute_type", short_compute_type(self.compute_type))
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"threads must be at least 1, got {self.threads}")
        if self.engine == "torch" and self.compute_type in ("int8", "w8a8"):
            raise OptionError(
                f"compute type {self.compute_type} needs the openvino engine: use --engine openvino, or f32 or bf16"
            )
        if self.engine == "openvino" and self.compute_type == "float16":
            raise OptionError("compute type float16 needs the torch engine: use --engine torch, or f32, bf16 or int8")


def require_engine(name: str) -> None:
    """Raise `OptionError` for an unknown engine."""
    if name not in ENGINES:
        raise OptionError(f"engine {name!r} is unknown: use {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")


def short_compute_type(name: str) -> str:
    """The short name of a compute type. Raises `OptionError` for an unknown one.

    >>> short_compute_type("bfloat16"), short_compute_type("int8")
    ('bf16', 'int8')
    """
    if name in COMPUTE_TYPES:
        return name
    if name not in _LONG_NAMES:
        known = f"{', '.join(COMPUTE_TYPES[:-1])} or {COMPUTE_TYPES[-1]}"
        raise OptionError(f"compute type {name!r} is unknown: use {known}, or {', '.join(_LONG_NAMES)}")
    return _LONG_NAMES[name]


def replace_dtype(dtype: str, wanted: EngineConfig, notify: Notify) -> EngineConfig:
    """Replace the former option `dtype`: this compute type on the torch engine. `notify` receives its new name.

    Raises `OptionError` if it contradicts the other options.
    """
    if wanted.engine == "openvino":
        raise OptionError(f"dtype {dtype} is for the torch engine: for OpenVINO choose --compute-type")
    if wanted.compute_type != "auto":
        raise OptionError("dtype and compute type are the same option: give one of them")
    if dtype not in DTYPES:
        raise OptionError(f"dtype {dtype!r} is unknown: use auto, {', '.join(DTYPES)}")
    if wanted.engine == "auto":
        notify(f"engine: torch (requested by dtype {dtype})")
    notify(f"dtype is deprecated: use --engine torch --compute-type {dtype}")
    return EngineConfig("torch", dtype, wanted.threads)


@dataclass(frozen=True)
class EngineChoice:
    """The engine of a model (torch or openvino), and the precision as reported (float32, int8)."""

    engine: str
    precision: str
    threads: int | None = None


def choose(ref: ModelRef, device: str, wanted: EngineConfig, notify: Notify) -> EngineChoice:
    """The engine and precision for a model that is not loaded yet.

    `notify` receives a sentence for each automatic choice. Raises `ModelError`, `OptionError`, and `OpenVinoMissing` if
    OpenVINO was requested by name.
    """
    family = family_of(ref.path)
    if family is WHISPER:
        engine, why = choose_engine(device, wanted)
        if wanted.engine == "auto":
            notify(f"engine: {engine} ({why})")
        if engine == "openvino":
            return EngineChoice(engine, _whisper_precision(ref, wanted, notify), wanted.threads)
    elif wanted.engine == "openvino":
        if family is not CTC:
            raise OptionError(
                f"model {ref.name} is not a Whisper-family or CTC model, which OpenVINO needs: use --engine torch"
            )
        choose_engine(device, wanted)
        return EngineChoice("openvino", _ctc_precision(ref, wanted, notify), wanted.threads)
    asked = _TORCH_DTYPES.get(wanted.compute_type)
    if asked is None:
        raise OptionError(f"compute type {wanted.compute_type} needs the openvino engine, which does not run here")
    precision, why = choose_dtype(asked, device)
    if asked == "auto":
        notify(f"dtype: {str(precision).removeprefix('torch.')} ({why})")
    return EngineChoice("torch", str(precision).removeprefix("torch."), wanted.threads)


def build_engine(ref: ModelRef, device: str, chosen: EngineChoice, notify: Notify) -> tuple[WhisperModel, Engine]:
    """Load a Whisper-family model into its chosen engine. Raises `ModelError`, `OptionError`."""
    if chosen.engine == "openvino":
        return _openvino(ref, chosen, notify)
    from linnet.engines.torch import TorchEngine

    model = load_whisper(ref.path, name=ref.name, device=device, dtype=torch_dtype(chosen))
    return model, TorchEngine(model)


def build_ctc(ref: ModelRef, chosen: EngineChoice, notify: Notify) -> SpeechModel:
    """Load a CTC model for OpenVINO. Raises `ModelError`, `OptionError`, `OpenVinoMissing`."""
    import torch

    from linnet.engines.openvino.cache import ModelSource, load_compiled
    from linnet.engines.openvino.ctc import OpenVinoCtc
    from linnet.models.speech import load_speech_model

    load = partial(load_speech_model, ref, device="cpu", dtype=torch.float32)
    source = ModelSource(ref.path, ref.name, load, ctc=True)
    compiled = load_compiled(source, openvino_precision(chosen.precision), notify, threads=chosen.threads)
    speech = load(weights=False)
    model = OpenVinoCtc(compiled.encoder, speech.model)
    return replace(speech, model=model, label=f"openvino ctc cpu {chosen.precision}")


def torch_dtype(chosen: EngineChoice) -> torch.dtype:
    """The dtype for PyTorch; also sets its number of threads if requested."""
    import torch

    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    dtype: torch.dtype = getattr(torch, chosen.precision)
    return dtype


def choose_engine(device: str, wanted: EngineConfig) -> tuple[str, str]:
    """The engine and the reason for it. Raises `OptionError` for OpenVINO on a device other than a CPU."""
    from linnet.engines.openvino.runtime import OpenVinoMissing, import_openvino

    if wanted.engine == "openvino" and device != "cpu":
        raise OptionError(f"the openvino engine runs on the CPU only, not on {device}: add --device cpu")
    if wanted.engine != "auto":
        return wanted.engine, "as requested"
    if device != "cpu":
        return "torch", f"it runs on {device}"
    if wanted.compute_type == "float16":
        return "torch", "the one that computes in float16"
    try:
        import_openvino()
    except OpenVinoMissing as error:
        return "torch", str(error)
    return "openvino", "the fastest on a CPU"


def is_small(folder: Path) -> bool:
    """Whether 8 bits save nothing for the checkpoint in a folder."""
    return sum(path.stat().st_size for path in weight_files(folder)) < SMALL


def _whisper_precision(ref: ModelRef, wanted: EngineConfig, notify: Notify) -> str:
    kind = wanted.compute_type
    if kind == "auto":
        small = is_small(ref.path)
        kind = "f32" if small else "int8"
        why = "exact, and fast for a small model" if small else "weights in 8 bits: the fastest"
        notify(f"compute type: {kind} ({why})")
    if kind != openvino_precision(kind).compute == "f32":
        notify("compute type: this CPU has no bfloat16 (AVX512_BF16 or AMX), so products are computed in float32")
    return kind


def _ctc_precision(ref: ModelRef, wanted: EngineConfig, notify: Notify) -> str:
    if wanted.compute_type == "w8a8":
        raise OptionError("compute type w8a8 needs a Whisper-family model: for a CTC model use f32, bf16 or int8")
    if wanted.compute_type == "auto":
        notify("compute type: f32 (exact)")
        return "f32"
    return _whisper_precision(ref, wanted, notify)


def _openvino(ref: ModelRef, chosen: EngineChoice, notify: Notify) -> tuple[WhisperModel, Engine]:
    from linnet.engines.openvino import OpenVinoEngine
    from linnet.engines.openvino.cache import load_compiled

    model = load_whisper(ref.path, name=ref.name, weights=False)
    precision = openvino_precision(chosen.precision)
    compiled = load_compiled(openvino_source(ref), precision, notify, threads=chosen.threads)
    return model, OpenVinoEngine(compiled, label=chosen.precision)


def openvino_precision(compute_type: str) -> Precision:
    """The precision of a compute type other than auto on this CPU."""
    from linnet.engines.openvino.formats import Precision
    from linnet.engines.openvino.runtime import has_bf16

    return Precision(_WEIGHTS[compute_type], "bf16" if compute_type != "f32" and has_bf16() else "f32")


def openvino_source(ref: ModelRef) -> ModelSource:
    """The source of a converted copy of a Whisper-family model."""
    from linnet.engines.openvino.cache import ModelSource

    return ModelSource(ref.path, ref.name, lambda: load_module(ref.path, name=ref.name))
