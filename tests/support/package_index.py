"""A package index of one folder, and wheels that hold a tiny Whisper as CTranslate2 writes it, or worse."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from linnet.models.wheels import Member, Wheel

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n"


def make_wheel(folder: Path, project: str, files: Mapping[str, bytes]) -> Path:
    """Write a wheel that pip takes for one: its path."""
    name = project.replace("-", "_")
    path = folder / f"{name}-1.0.0-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        info = f"{name}-1.0.0.dist-info"
        archive.writestr(f"{info}/METADATA", METADATA.format(name=project))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def pinned(path: Path, project: str, members: Mapping[str, tuple[int, str]]) -> Wheel:
    """The row of the table for a wheel: per member its size and the file that it becomes."""
    content = path.read_bytes()
    rows = tuple(Member(name, size, output) for name, (size, output) in members.items())
    return Wheel(project, "1.0.0", hashlib.sha256(content).hexdigest(), len(content), rows)
