"""Linnet: speech recognition made efficient, from data to desk.

The front door: `load` a model and `transcribe`. Heavy modules are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet.models.fusion.auto import register_when_used
from linnet.models.lowrank.auto import register_when_used as register_low_rank_when_used

if TYPE_CHECKING:
    from linnet.errors import LinnetError
    from linnet.transcription.recognizer import Recognizer, load
    from linnet.transcription.transcribe_options import TranscribeOptions
    from linnet.transcription.transcript import Transcript

__version__ = "0.1.0"
__all__ = ["LinnetError", "Recognizer", "TranscribeOptions", "Transcript", "load"]

_HOMES = {
    "LinnetError": "linnet.errors",
    "Recognizer": "linnet.transcription.recognizer",
    "TranscribeOptions": "linnet.transcription.transcribe_options",
    "Transcript": "linnet.transcription.transcript",
    "load": "linnet.transcription.recognizer",
}

register_when_used()
register_low_rank_when_used()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'linnet' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
