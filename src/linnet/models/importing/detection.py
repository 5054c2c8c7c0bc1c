"""Detect the format of another program's model by its first bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

from linnet.models.checkpoint import weight_files

Format = Literal["ctranslate2", "openai", "ggml"]
CT2_WEIGHTS = "model.bin"
GGML_MAGIC = 0x67676D6C  # "ggml"

_NAMES: dict[str, str] = {
    "ctranslate2": "CTranslate2",
    "openai": "openai-whisper",
    "ggml": "whisper.cpp (ggml)",
}


def format_name(kind: str) -> str:
    """The usual name of a format."""
    return _NAMES[kind]


def detect_format(path: Path) -> Format | None:
    """The format of a Whisper model that Linnet can import, or None. Reads only a few bytes.

    `ctranslate2`: a folder with a model.bin of CTranslate2 (as faster-whisper uses it) and no weights for Transformers;
    `openai`: a checkpoint file of torch named *.pt; `ggml`: a file of whisper.cpp.
    """
    try:
        if path.is_dir():
            return "ctranslate2" if _is_ctranslate2(path) else None
        if not path.is_file():
            return None
        start = _first_bytes(path)
    except OSError:
        return None
    if start[:4] == struct.pack("<I", GGML_MAGIC):
        return "ggml"
    return "openai" if path.suffix == ".pt" and start[:1] in (b"P", b"\x80") else None  # a zip archive, or a pickle


def _is_ctranslate2(folder: Path) -> bool:
    weights = folder / CT2_WEIGHTS
    if not weights.is_file() or weight_files(folder):
        return False
    start = _first_bytes(weights)
    if len(start) < 8:
        return False
    version, length = struct.unpack("<IH", start[:6])
    name = start[6 : 6 + length]
    return version < 1000 and name.rstrip(b"\0").endswith(b"Spec")


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
