"""What can go wrong with a converted model on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def relabel(path: Path) -> None:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "versions": "export 0, OpenVINO 1"}))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "weights cut": ("decoder.bin", cut, r"is damaged \(decoder.bin has changed\)"),
    "weights changed": ("encoder.bin", flip, r"is damaged \(encoder.bin has changed\)"),
    "model gone": ("encoder.xml", Path.unlink, "is damaged"),
    "manifest gone": ("manifest.json", Path.unlink, "is damaged"),
    "manifest cut": ("manifest.json", cut, "is damaged"),
    "manifest of nothing": ("manifest.json", lambda path: path.write_text("[]"), "is damaged"),
    "other versions": ("manifest.json", relabel, r"is from other versions \(export 0, OpenVINO 1\)"),
}
