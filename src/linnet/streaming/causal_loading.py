"""Load a causal model: a whole checkpoint, or an adapter merged into its base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.engines.causal import CausalEngine
from linnet.engines.choice import EngineChoice, EngineConfig, choose_engine, is_small, openvino_precision, torch_dtype
from linnet.errors import ModelError, OptionError
from linnet.models.adapters import CONFIG, is_adapter, merge_adapter, weights_of
from linnet.models.causal import SPEC, read_causal_spec
from linnet.models.device import choose_dtype
from linnet.models.resolve import EMBEDDED_ROOT, resolve
from linnet.models.unpacked import unpacked_folder
from linnet.models.whisper import WhisperModel, load_module, load_whisper
from linnet.notices import Notify
from linnet.streaming.causal import CausalModel, check_block


def causal_folder(name: str) -> Path | None:
    """The folder of a causal model, or None if the name is not one; nothing is downloaded.

    A name is a folder, or a model embedded in Linnet.
    """
    for folder in (Path(name).expanduser(), EMBEDDED_ROOT / name):
        if (folder / SPEC).is_file():
            return folder
    return None


def load_causal(
    name: str,
    *,
    engine: EngineConfig | None = None,
    device: str = "cpu",
    block: float | None = None,
    base: str | None = None,
    offline: bool = False,
    notify: Notify | None = None,
) -> CausalModel:
    """Load a causal model: a folder with linnet_causal.json and a checkpoint, or an adapter to its base.

    `base` overrides the base that the adapter names, which is found, and downloaded unless `offline`, as
    `models.resolve` does. `block`: seconds of audio encoded at a time. Raises `ModelError` for a name that
    is not a causal model, missing or damaged files, or an adapter of another model; `OptionError` for a block that the
    model was not trained for, and for an engine that cannot run it.
    """
    folder = causal_folder(name)
    if folder is None:
        raise ModelError(
            f"{name} is not a causal model: pass a folder with {SPEC}, as written by `linnet train recipes/causal.yaml`"
        )
    spec, wanted, report = read_causal_spec(folder), engine or EngineConfig(), notify or (lambda _: None)
    check_block(block, spec)
    chosen, why = choose_engine(device, wanted)
    if wanted.engine == "auto":
        report(f"engine: {chosen} ({why})")
    source = _Source.of(name, folder, base or spec.base, offline=offline, notify=notify)
    compute = _compute_type(chosen, device, wanted, source.checkpoint)
    if wanted.compute_type == "auto" and chosen == "openvino":
        report(f"compute type: {compute}")
    build = _openvino if chosen == "openvino" else _torch
    model, runtime = build(source, EngineChoice(chosen, compute, wanted.threads), device, report)
    return CausalModel(model, runtime, spec, block=block)


@dataclass(frozen=True)
class _Source:
    """Where the weights of a causal model are: a checkpoint, and the adapter to it, if it is one."""

    name: str
    checkpoint: Path
    adapter: Path | None

    @classmethod
    def of(cls, name: str, folder: Path, base: str, *, offline: bool, notify: Notify | None) -> _Source:
        if is_adapter(folder):
            return cls(name, resolve(base, offline=offline, notify=notify).path, folder)
        return cls(name, unpacked_folder(folder), None)

    def module(self) -> Any:
        """The whole model in float32 on the CPU."""
        module = load_module(self.checkpoint, name=self.name)
        if self.adapter is not None:
            merge_adapter(module, self.adapter)
        return module


def _compute_type(engine: str, device: str, wanted: EngineConfig, checkpoint: Path) -> str:
    """The precision of an engine. Raises `OptionError` for one that needs what is not here."""
    kind = wanted.compute_type
    if engine == "torch":
        return str(choose_dtype({"auto": "auto", "f32": "float32", "bf16": "bfloat16"}.get(kind, kind), device)[0])[6:]
    if kind == "w8a8":
        raise OptionError("compute type w8a8 is calibrated on whole windows: for a causal model use f32, bf16 or int8")
    if kind != "auto":
        return kind
    if not is_small(checkpoint):
        return "int8"
    from linnet.engines.openvino.runtime import bf16_pays

    return "bf16" if bf16_pays() else "f32"


def _torch(source: _Source, chosen: EngineChoice, device: str, report: Notify) -> tuple[WhisperModel, CausalEngine]:  # noqa: ARG001 - as `_openvino`
    from linnet.engines.torch.causal import TorchCausalEngine

    model = load_whisper(source.checkpoint, name=source.name)
    if source.adapter is not None:
        merge_adapter(model.module, source.adapter)
    model.module.to(device, torch_dtype(chosen))
    return model, TorchCausalEngine(model)


def _openvino(source: _Source, chosen: EngineChoice, device: str, report: Notify) -> tuple[WhisperModel, CausalEngine]:  # noqa: ARG001 - as `_torch`
    from linnet.engines.openvino.cache import ModelSource, file_digest, load_compiled
    from linnet.engines.openvino.causal import OpenVinoCausalEngine

    files = [] if source.adapter is None else [source.adapter / CONFIG, weights_of(source.adapter)]
    mark = "".join(file_digest(path)[:8] for path in files)
    whole = ModelSource(source.checkpoint, source.name, source.module, causal=mark)
    compiled = load_compiled(whole, openvino_precision(chosen.precision), report, threads=chosen.threads)
    model = load_whisper(source.checkpoint, name=source.name, weights=False)
    return model, OpenVinoCausalEngine(compiled, label=chosen.precision)
