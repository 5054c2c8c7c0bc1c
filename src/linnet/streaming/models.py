"""Build a streaming model from a name or a loaded recognizer."""

from __future__ import annotations

import os
from typing import Any

from linnet.errors import ModelError, OptionError
from linnet.notices import Notify, ignore
from linnet.streaming.protocol import StreamingModel
from linnet.transcription import recognizer as front


def streaming_model(
    model: front.Recognizer | str | os.PathLike[str] | None = None,
    *,
    beam_size: int = 1,
    block: float | None = None,
    notify: Notify | None = None,
    **loading: Any,
) -> StreamingModel:
    """Build a streaming model: causal if the folder holds linnet_causal.json, else any Whisper by re-encoding.

    `model` is a loaded recognizer, or a name as `linnet.load` takes it, with its keywords (`loading`). The model of a
    recognizer is loaded again if it is causal, on the same engine and in the same precision. `block` is for causal
    models: seconds of audio encoded at a time. Raises `ModelError` for a model that cannot stream, and `OptionError`
    for options that cannot be combined.
    """
    from linnet.streaming.causal_loading import causal_folder

    if isinstance(model, front.Recognizer):
        name, loading = model.name, _loading_of(model)
    else:
        name = "" if model is None else os.fspath(model)
    if name and causal_folder(name) is not None:
        return _causal(name, beam_size, block, notify or ignore, loading)
    if block is not None:
        raise OptionError("block is for causal models, which encode each block once: omit it, or choose a causal model")
    recognizer = model if isinstance(model, front.Recognizer) else _load(model, notify, loading)
    backend: Any = recognizer.backend
    if not hasattr(backend, "vocabulary"):
        raise ModelError(
            f"{recognizer.name} cannot stream: it is not a Whisper-family model; choose one, such as "
            "openai/whisper-base"
        )
    from linnet.streaming.reencoding import ReencodingModel

    return ReencodingModel(backend, recognizer.name, beam_size=beam_size)


def _loading_of(recognizer: front.Recognizer) -> dict[str, Any]:
    """The keywords with which a Whisper-family recognizer was loaded."""
    engine = "openvino" if "openvino" in recognizer.engine_name else "torch"
    shared = {"device": recognizer.device, "threads": recognizer.threads}
    return {**shared, "engine": engine, "compute_type": recognizer.dtype}


def _load(name: str | os.PathLike[str] | None, notify: Notify | None, loading: dict[str, Any]) -> front.Recognizer:
    return front.load(None if name is None else os.fspath(name), notify=notify, **loading)


def _causal(name: str, beam_size: int, block: float | None, notify: Notify, loading: dict[str, Any]) -> StreamingModel:
    from linnet.engines.choice import EngineConfig
    from linnet.models.device import choose_device
    from linnet.streaming.causal_loading import load_causal

    if beam_size > 1:
        raise OptionError("causal models decode greedily: omit the beam size")
    device, why = choose_device(loading.get("device", "auto"))
    notify(f"device: {device} ({why})")
    kind, compute = (loading.get(key) or "auto" for key in ("engine", "compute_type"))
    engine = EngineConfig(kind, compute, loading.get("threads"))
    offline = bool(loading.get("offline"))
    return load_causal(name, engine=engine, device=device, block=block, offline=offline, notify=notify)
