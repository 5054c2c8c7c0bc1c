"""Kaldi's data folders: `wav.scp`, and `text`, `segments`, `utt2spk`, `utt2lang`, `utt2dur`.

Each line is a key and a value. Files sorted by key (`LC_ALL=C sort`) are merged in constant memory; unsorted ones are
held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeAlias

from linnet.data.fields import BadRow, decode, resolve
from linnet.data.manifest import Utterance
from linnet.data.sources.base import Found, Problem, SourceSpec
from linnet.data.sources.lines import read_lines
from linnet.errors import OptionError

_ASIDE = ("text", "utt2spk", "utt2lang", "utt2dur")
_Pairs: TypeAlias = Iterator[tuple[int, bytes, bytes]]  # line number, key, value
_Stretches: TypeAlias = Iterator[tuple[bytes, str, Utterance | BadRow]]  # key, place, what it is


def read_kaldi(spec: SourceSpec) -> Iterator[Found]:
    """One utterance per line of `segments`, or of `wav.scp` if there is no such file.

    Commands (`... |`) and archive offsets (`x.ark:17`) in `wav.scp` are not supported and reported as problems.
    Relative paths are relative to the folder, or to the nearest parent from which the first path exists.

    Raises:
        OptionError: there is no `wav.scp`, or a file cannot be read.
    """
    folder = Path(spec.path)
    if not (folder / "wav.scp").is_file():
        raise OptionError(f"{folder}: expected a Kaldi data folder with the file wav.scp")
    return _folder(folder)


def _folder(folder: Path) -> Iterator[Found]:
    base = _base(folder)
    main = folder / "segments"
    pieces = _segments(folder, base) if main.is_file() else _recordings(folder, base)
    in_order = _is_sorted(main if main.is_file() else folder / "wav.scp")
    aside = {name: _open_aside(folder / name, in_order=in_order) for name in _ASIDE}
    for key, where, what in pieces:
        yield from aside["text"].before(key)
        values = {name: table.take(key) for name, table in aside.items()}
        yield Problem(where, str(what)) if isinstance(what, BadRow) else _with(what, values, where)
    yield from aside["text"].before(None)


def _with(utterance: Utterance, values: dict[str, bytes | None], where: str) -> Found:
    """The utterance with the values of the other files."""
    try:
        texts = {name: None if value is None else decode(value) for name, value in values.items()}
        duration = None if texts["utt2dur"] is None else float(texts["utt2dur"])
    except BadRow as error:
        return Problem(f"{where}, {utterance.id}", f"its text, speaker or language: {error}")
    except ValueError:
        return Problem(f"{where}, {utterance.id}", f"utt2dur says {texts['utt2dur']!r}, expected seconds")
    if duration is None:
        duration = utterance.stated_duration
    return replace(
        utterance, text=texts["text"], duration=duration, language=texts["utt2lang"], speaker=texts["utt2spk"]
    )


def _recordings(folder: Path, base: Path) -> _Stretches:
    for number, key, value in _pairs(folder / "wav.scp"):
        try:
            name = decode(key)
            utterance = Utterance(_path(decode(value), base), id=name, recording=name)
            yield key, f"wav.scp, line {number}", utterance
        except BadRow as error:
            yield key, f"wav.scp, line {number}", error


def _segments(folder: Path, base: Path) -> _Stretches:
    recordings = {key: value for _, key, value in _pairs(folder / "wav.scp")}
    for number, key, value in _pairs(folder / "segments"):
        try:
            recording, start, end, channel = _stretch(value)
            if recording not in recordings:
                raise BadRow(f"wav.scp has no recording {decode(recording)}")
            audio = _path(decode(recordings[recording]), base)
            name = decode(recording)
            utterance = Utterance(audio, id=decode(key), start=start, end=end, channel=channel, recording=name)
            yield key, f"segments, line {number}", utterance
        except BadRow as error:
            yield key, f"segments, line {number}", error


def _stretch(value: bytes) -> tuple[bytes, float, float | None, int | None]:
    """Recording, start, end (-1: that of the recording) and channel (from 0; -1 or missing: all)."""
    parts = value.split()
    try:
        start, end = float(parts[1]), float(parts[2])
        channel = int(parts[3]) if len(parts) > 3 else -1
    except (IndexError, ValueError):
        raise BadRow(f"expected RECORDING START END after the utterance, got {decode(value)!r}") from None
    if not 0 <= start < float("inf") or not (end == -1 or start < end < float("inf")):
        raise BadRow(f"expected 0 <= START < END in seconds, got {start:g} and {end:g}")
    return parts[0], start, None if end == -1 else end, None if channel < 0 else channel


def _path(value: str, base: Path) -> str:
    if value.endswith("|"):
        raise BadRow(f"the audio comes from a command ({value}), which is not run; run it and write a file")
    if not value or value == "-":
        raise BadRow("expected the path of an audio file")
    head, _, tail = value.rpartition(":")
    if head and tail.isdigit():
        raise BadRow(f"{value} is an offset into a Kaldi archive, which is not supported; write audio files (wav-copy)")
    return resolve(value, base)


def _base(folder: Path) -> Path:
    """The folder that relative paths are relative to."""
    for _, _, value in _pairs(folder / "wav.scp"):
        path = value.decode("utf-8", "replace")
        return next((base for base in (folder, *folder.resolve().parents) if (base / path).is_file()), folder)
    return folder


def _pairs(path: Path) -> _Pairs:
    for number, line in read_lines(path):
        parts = line.split(None, 1)
        yield number, parts[0], parts[1].rstrip() if len(parts) > 1 else b""


def _is_sorted(path: Path) -> bool:
    last = b""
    for _, key, _ in _pairs(path):
        if key < last:
            return False
        last = key
    return True


class _Aside(Protocol):
    """A file with one value per key, read in the order of the main file."""

    def before(self, key: bytes | None) -> Iterator[Problem]:
        """The lines up to `key` (`None`: all remaining) whose keys are not in the main file."""
        ...

    def take(self, key: bytes) -> bytes | None:
        """The value of a key."""
        ...


def _open_aside(path: Path, *, in_order: bool) -> _Aside:
    if not path.is_file():
        return _Held(path.name, iter(()))
    return _Merged(path.name, _pairs(path)) if in_order and _is_sorted(path) else _Held(path.name, _pairs(path))


class _Held:
    """A file in any order, held in memory."""

    def __init__(self, name: str, pairs: _Pairs) -> None:
        self._name = name
        self._lines = {key: (number, value) for number, key, value in pairs}

    def before(self, key: bytes | None) -> Iterator[Problem]:
        """The lines left at the end."""
        for name, (number, _) in self._lines.items() if key is None else ():
            yield _orphan(self._name, number, name)

    def take(self, key: bytes) -> bytes | None:
        """The value of a key, removed."""
        return self._lines.pop(key, (0, None))[1]


class _Merged:
    """A sorted file, merged with the sorted main file."""

    def __init__(self, name: str, pairs: _Pairs) -> None:
        self._name = name
        self._pairs = pairs
        self._next = next(pairs, None)

    def before(self, key: bytes | None) -> Iterator[Problem]:
        """The lines up to the key."""
        while self._next is not None and (key is None or self._next[1] < key):
            yield _orphan(self._name, self._next[0], self._next[1])
            self._next = next(self._pairs, None)

    def take(self, key: bytes) -> bytes | None:
        """The value of a key, which must not be less than that of the previous call."""
        while self._next is not None and self._next[1] < key:
            self._next = next(self._pairs, None)
        if self._next is None or self._next[1] != key:
            return None
        value = self._next[2]
        self._next = next(self._pairs, None)
        return value


def _orphan(name: str, number: int, key: bytes) -> Problem:
    return Problem(f"{name}, line {number}", f"{key.decode('utf-8', 'replace')} has no audio in wav.scp or segments")
