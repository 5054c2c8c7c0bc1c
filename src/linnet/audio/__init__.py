"""Load any recording as mono float32 at 16 kHz and compute its features. Heavy modules are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linnet.audio.inputs import expand
    from linnet.audio.mel import log_mel
    from linnet.audio.source import AudioSource, load, open_audio
    from linnet.audio.types import SAMPLE_RATE, Audio, Samples

__all__ = ["SAMPLE_RATE", "Audio", "AudioSource", "Samples", "expand", "load", "log_mel", "open_audio"]

_HOMES = {
    "SAMPLE_RATE": "linnet.audio.types",
    "Audio": "linnet.audio.types",
    "AudioSource": "linnet.audio.source",
    "Samples": "linnet.audio.types",
    "expand": "linnet.audio.inputs",
    "load": "linnet.audio.source",
    "log_mel": "linnet.audio.mel",
    "open_audio": "linnet.audio.source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'linnet.audio' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
