"""From a name to a causal model of streams: a whole checkpoint, or an adapter that is merged into its base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from linnet.errors import ModelError, OptionError
from linnet.models.adapters import is_adapter, merge_adapter
from linnet.models.causal import SPEC, CausalSpec, read_causal_spec
from linnet.models.resolve import EMBEDDED_ROOT, resolve
from linnet.models.unpacked import unpacked_folder
from linnet.models.whisper import WhisperModel, load_whisper
from linnet.notices import Notify
from linnet.streaming.causal import CausalModel


def causal_folder(name: str) -> Path | None:
    """The folder of the causal model that a name means, or None where it means none; nothing is fetched.

    A name is a folder, or that of a model that is shipped inside Linnet.
    """
    for folder in (Path(name).expanduser(), EMBEDDED_ROOT / name):
        if (folder / SPEC).is_file():
            return folder
    return None


def load_causal(
    name: str,
    *,
    device: str = "cpu",
    threads: int | None = None,
    block: float | None = None,
    base: str | None = None,
    notify: Notify | None = None,
) -> CausalModel:
    """Load a causal model: a folder with linnet_causal.json and a checkpoint, or an adapter to its base.

    `base` stands above the base that the adapter names, which is found, and fetched if need be, as `models.resolve`
    says. `block`: seconds of audio that are encoded at a time. Raises `ModelError` for a name that means no causal
    model, files that are missing or damaged, or an adapter of another model; `OptionError` for a block that the model
    was not trained for.
    """
    folder = causal_folder(name)
    if folder is None:
        raise ModelError(
            f"{name} is no causal model: point at a folder with {SPEC}, as `linnet train recipes/causal.yaml` makes it"
        )
    spec = read_causal_spec(folder)
    model = _load(name, folder, base or spec.base, device, notify)
    return causal_model(model, spec, threads=threads, block=block)


def causal_model(
    model: WhisperModel, spec: CausalSpec, *, threads: int | None = None, block: float | None = None
) -> CausalModel:
    """A loaded Whisper as a causal model of streams. Raises `OptionError`."""
    import torch

    from linnet.engines.torch.causal import TorchCausalEngine

    if threads is not None:
        if threads < 1:
            raise OptionError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    return CausalModel(model, TorchCausalEngine(model), spec, block=block)


def _load(name: str, folder: Path, base: str, device: str, notify: Notify | None) -> WhisperModel:
    if not is_adapter(folder):
        return load_whisper(unpacked_folder(folder), name=name, device=device)
    ref = resolve(base, notify=notify)
    model = load_whisper(ref.path, name=ref.name)
    merge_adapter(model.module, folder)
    model.module.to(device)
    return replace(model, name=name)
