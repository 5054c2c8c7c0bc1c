"""Audio inside other files: members of tar archives, cells of Parquet and Arrow tables.

Its address is `FILE::MEMBER` for a tar archive and `FILE::COLUMN/ROW` for a table, with rows counted from 0, so that
utterances stay small, fit into manifests, and their bytes are read on demand.
"""

from __future__ import annotations

import re
import tarfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from linnet.closing import Closing
from linnet.data.manifest import Utterance
from linnet.errors import AudioError

_BETWEEN = "::"
_ARCHIVE = re.compile(r"(.+\.(tar|parquet|arrow))::(.+)", re.DOTALL)
_OFFSET_OF_NEMO = re.compile(r"-sub\d+$")
_MOST_OPEN = 8


def address(file: str, inside: str) -> str:
    """The address of a recording inside a file."""
    return f"{file}{_BETWEEN}{inside}"


def split_address(audio: str) -> tuple[str, str] | None:
    """The file and the member; `None` for a recording in its own file.

    >>> split_address("shards/audio_0.tar::a/b.wav"), split_address("b.wav")
    (('shards/audio_0.tar', 'a/b.wav'), None)
    """
    found = _ARCHIVE.fullmatch(audio)
    return (found[1], found[3]) if found else None


class Archive(Protocol):
    """An open file that contains recordings."""

    def read(self, inside: str) -> bytes:
        """The bytes of one recording. Raises `KeyError` for an unknown name."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class AudioInputs(Closing):
    """The input of `linnet.audio.open_audio` for each utterance; a context manager that owns the open archives.

    >>> with AudioInputs() as inputs:
    ...     inputs.get(Utterance("a.wav"))
    'a.wav'
    """

    def __init__(self) -> None:
        self._open: OrderedDict[str, Archive] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, utterance: Utterance) -> str | bytes:
        """The path or URL of the whole recording, or its bytes if it is inside another file.

        Raises `AudioError` where the archive or its member cannot be read; plain paths are not checked.
        """
        parts = split_address(utterance.audio)
        if parts is None:
            return utterance.audio
        file, inside = parts
        with self._lock:
            try:
                return self._archive(file).read(inside)
            except OSError as error:
                raise AudioError(f"{utterance.audio}: {file} cannot be read: {error.strerror or error}") from error
            except KeyError as error:
                raise AudioError(
                    f"{utterance.audio}: {file} holds no {inside}; it has changed: read the source again"
                ) from error

    def exists(self, utterance: Utterance) -> bool | None:
        """Whether its file exists; `None` for a URL, which is not requested."""
        parts = split_address(utterance.audio)
        if "://" in utterance.audio:
            return None
        return Path(parts[0] if parts else utterance.audio).is_file()

    def _archive(self, file: str) -> Archive:
        if file in self._open:
            self._open.move_to_end(file)
            return self._open[file]
        while len(self._open) >= _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[file] = archive = _open_archive(file)
        return archive

    def close(self) -> None:
        """Close the archives; a later `get` reopens them."""
        while self._open:
            self._open.popitem()[1].close()


def _open_archive(file: str) -> Archive:
    if file.endswith(".tar"):
        return TarArchive(file)
    from linnet.data.sources.tables import open_table

    return open_table(file)


class TarArchive:
    """An uncompressed tar archive with random access."""

    def __init__(self, file: str) -> None:
        try:
            with tarfile.open(file, "r:") as tar:
                self._members = {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
        except tarfile.TarError as error:
            raise AudioError(f"{file}: is not an uncompressed tar archive ({error}); unpack it or repack it") from error
        self._file = Path(file).open("rb")  # noqa: SIM115  closed by close()

    def read(self, inside: str) -> bytes:
        """The bytes of a member; NeMo's `name-sub1.wav` is a segment of the member `name.wav`."""
        path = Path(inside)
        plain = str(path.with_stem(_OFFSET_OF_NEMO.sub("", path.stem)))
        offset, size = self._members[inside] if inside in self._members else self._members[plain]
        self._file.seek(offset)
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
