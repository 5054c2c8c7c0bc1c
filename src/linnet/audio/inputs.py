"""Expanding command line inputs into a list of recordings."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from linnet.errors import AudioError
from linnet.urls import is_url, public_name

_SOUND = ".wav .wave .flac .mp3 .mp2 .ogg .oga .opus .spx .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .voc"
_CONTAINER = (
    ".mp4 .m4a .m4b .m4v .mov .aac .webm .weba .mkv .mka .wma .wmv .asf .avi .flv .3gp .3g2 .amr .ac3 .eac3 .dts .ape "
    ".wv .tta .mpg .mpeg .mts .m2ts .ogv .ogx .mxf .ra .rm"
)
SOUND_SUFFIXES = frozenset(_SOUND.split())
CONTAINER_SUFFIXES = frozenset(_CONTAINER.split())
SUFFIXES = SOUND_SUFFIXES | CONTAINER_SUFFIXES


def expand(inputs: Sequence[str]) -> list[str]:
    """Expand files, folders, globs, URLs and "-" into single recordings, in the given order, each once.

    A folder is searched recursively for audio and video files (by case-insensitive suffix), sorted; hidden files and
    folders, pipes and devices are skipped and links to folders not followed. Named files may have any suffix. Raises
    `AudioError` for a missing path, a glob without match, a folder without audio or permission.

    >>> expand(["-", "https://example.org/a.mp3", "-"])
    ['-', 'https://example.org/a.mp3']
    """
    return list(dict.fromkeys(sound for text in inputs for sound in _expand(os.fspath(text))))


def _expand(text: str) -> Iterator[str]:
    if text == "-" or is_url(text.strip()):
        yield text.strip()
    elif os.path.isdir(text):  # noqa: PTH112  "a/" and "a//b" shall stay as they were written
        yield from _folder(text)
    elif os.path.lexists(text):
        yield text
    elif glob.has_magic(text):
        yield from _glob(text)
    else:
        yield _missing(text)


def _missing(text: str) -> str:
    """The path if only permission is missing (reported on opening), else `AudioError`."""
    try:
        os.lstat(text)
    except PermissionError as error:
        name = public_name(text)
        raise AudioError(f"{name}: permission denied; make its folders readable, as in  chmod u+rx") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{public_name(text)}: there is no such file or folder; check the path") from error
    return text


def _folder(folder: str) -> list[str]:
    """All recordings under a folder, sorted."""
    found = list(_walk(folder))
    if not found:
        raise AudioError(
            f"{folder}: no audio in this folder or its subfolders; looked for {', '.join(sorted(SUFFIXES))} "
            "(name a file to read it regardless of its suffix)"
        )
    return found


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = os.path.join(parent, name)  # noqa: PTH118
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES and not _is_special(path):
                yield path


def _is_special(path: str) -> bool:
    """Whether it is a pipe, a device or a socket; inaccessible paths are reported on opening."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return False


def _unreadable(error: OSError) -> None:
    why = (
        "permission denied; make it readable, as in  chmod u+rx"
        if isinstance(error, PermissionError)
        else error.strerror
    )
    raise AudioError(f"{error.filename}: this folder cannot be read: {why}, or name other inputs") from error


def _glob(pattern: str) -> Iterator[str]:
    """Files that a quoted pattern matches, and the recordings in matching folders."""
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    found = False
    for match in matches:
        for sound in _walk(match) if os.path.isdir(match) else [match] * (not _is_special(match)):  # noqa: PTH112
            found = True
            yield sound
    if not found:
        raise AudioError(f"{pattern}: no file matches this pattern; check it, and the folder it starts from")
