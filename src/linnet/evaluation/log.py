"""The file of an evaluation: a line for each utterance, written when it is done, so that a second run goes on.

The first line says what the rows were made with; each run adds a line on where it ran. A line that a crash cut short is
dropped and its utterance done again; so is an utterance that failed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

from linnet.errors import OptionError, OutputError
from linnet.evaluation.scores import WordErrors
from linnet.urls import public_name

MARK = "linnet_evaluation"
_VERSION = 1
_IDENTITY = ("model", "revision", "dtype", "options", "normalizer", "protocol")


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One utterance of the manifest: what was said, what was heard, how they differ. `error`: it was not scored."""

    row: int  # its place in the manifest, from 0
    id: str
    audio: str
    text: str
    language: str | None = None
    speaker: str | None = None
    hypothesis: str | None = None
    heard_language: str | None = None
    normalizer: str | None = None
    normalized_text: str | None = None
    normalized_hypothesis: str | None = None
    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    duration: float = 0.0  # seconds of audio
    seconds: float = 0.0  # of work
    error: str | None = None
    session: str | None = None  # a meeting or call, of which there may be several recordings
    recording: str | None = None  # of which the utterance is a part
    snr: float | None = None  # signal to noise in dB, where it is known
    protocol: str = "plain"  # how words were counted
    start: float | None = None  # seconds in `audio` where it begins and ends; None: at its own beginning and end
    end: float | None = None
    channel: int | None = None
    chunk: int | None = None  # its place among the pieces of `recording`, whose whole text is `text`

    @property
    def counts(self) -> WordErrors:
        """Its word errors."""
        return WordErrors(self.words, self.substitutions, self.deletions, self.insertions)


@dataclass
class RowLog:
    """An open file of rows; `rows` are those that are done, `sessions` where they were made."""

    path: Path
    file: BinaryIO
    rows: dict[int, ScoredRow]
    sessions: list[dict[str, Any]]

    @classmethod
    def open(cls, path: Path, header: Mapping[str, Any], session: Mapping[str, Any], *, restart: bool = False) -> Self:
        """Begin a file, or go on with one that was made with the same header.

        `restart` drops the rows of an earlier evaluation. Raises `OptionError` where the file is something else or
        was made with another model, options or normaliser, and `OutputError` where it cannot be written.
        """
        try:
            lines = _whole_lines(path)
            rows, sessions = _read(path, lines, header, restart=restart) if lines else ({}, [])
            if lines and not restart:
                file: BinaryIO = path.open("r+b")
                file.truncate(file.seek(sum(map(len, lines))))
            else:
                file = path.open("wb")
        except OSError as error:
            raise _cannot_write(path, error) from error
        log = cls(path, file, rows, [*sessions, dict(session)])
        try:
            if not lines or restart:
                log._append({MARK: _VERSION, **header})
            log._append({"session": dict(session)})
        except OutputError:
            log.__exit__()
            raise
        return log

    def add(self, row: ScoredRow) -> None:
        """Keep a row; it is with the system when this returns. Raises `OutputError`."""
        self.rows[row.row] = row
        self._append({**asdict(row), "audio": public_name(row.audio)})

    def _append(self, data: Mapping[str, Any]) -> None:
        try:
            line = json.dumps(data, allow_nan=False, ensure_ascii=False) + "\n"
            self.file.write(line.encode("utf-8", errors="backslashreplace"))
            self.file.flush()
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        with suppress(OSError):  # what could not be written was said when it was tried
            self.file.close()


def _whole_lines(path: Path) -> list[bytes]:
    if path.is_dir():
        raise OptionError(f"{path}: expected a file for the rows, found a folder")
    if not path.is_file():  # none yet, or a pipe or device, from which no rows can be read back
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if data and not whole and not data.startswith(f'{{"{MARK}"'.encode()[: len(data)]):
        raise _foreign(path)
    return whole.splitlines(keepends=True)


def _read(
    path: Path, lines: list[bytes], header: Mapping[str, Any], *, restart: bool
) -> tuple[dict[int, ScoredRow], list[dict[str, Any]]]:
    if MARK not in (first := _object(path, 1, lines[0])):
        raise _foreign(path)
    if restart:
        return {}, []
    found = [first, *(_object(path, number, line) for number, line in enumerate(lines[1:], start=2))]
    wanted = json.loads(json.dumps(header))
    for key in _IDENTITY:
        if found[0].get(key) != wanted.get(key):
            raise OptionError(
                f"{path}: was made with {_difference(key, found[0].get(key), wanted.get(key))}: "
                "begin again with --restart, or choose another --output"
            )
    rows, sessions = rows_and_sessions(found[1:])
    return {row.row: row for row in rows if row.error is None}, sessions


def rows_and_sessions(lines: Sequence[Mapping[str, Any]]) -> tuple[list[ScoredRow], list[dict[str, Any]]]:
    """What the lines after the first hold, in their order; other keys than those of a row are left out.

    Raises `TypeError` for a row that is not complete.
    """
    known = {field.name for field in fields(ScoredRow)}
    rows = [ScoredRow(**{key: line[key] for key in known & line.keys()}) for line in lines if "row" in line]
    return rows, [line["session"] for line in lines if "session" in line and "row" not in line]


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _foreign(path) if number == 1 else OptionError(f"{path}, line {number}: damaged; begin again: --restart")
    return value


def _foreign(path: Path) -> OptionError:
    return OptionError(f"{path}: is there already and is no file of `linnet evaluate`: choose another --output")


def _difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        key, old, new = next((k, old.get(k), new.get(k)) for k in {**old, **new} if old.get(k) != new.get(k))
    return f"another {key.replace('_', ' ')} ({old}, now {new})"


def _cannot_write(path: Path, error: OSError) -> OutputError:
    from linnet.transcription.writers.atomic import cannot_write

    return cannot_write(path, error)
