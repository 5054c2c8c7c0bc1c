"""The rows file of an evaluation: one line per utterance, written as it finishes, so that a second run resumes.

The first line records what the rows were made with; each run adds a line on where it ran. An utterance is scored again
if a crash cut its line short, if it failed, or if its line is damaged, which is reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, Self, get_args, get_origin, get_type_hints

from linnet.data.fields import BadRow, Row, parse_json, shown
from linnet.data.sources.base import MOST_NAMED, Problem
from linnet.errors import OptionError, OutputError
from linnet.evaluation.streams.trace import StreamTrace
from linnet.files import JsonLog, cannot_write, whole_lines
from linnet.scoring.scores import WordErrors
from linnet.urls import public_name

MARK = "linnet_evaluation"
_VERSION = 1
_IDENTITY = ("model", "revision", "dtype", "options", "normalizer", "protocol")


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One utterance of the manifest: reference, hypothesis and word errors. `error`: why it was not scored."""

    row: int  # its position in the manifest, from 0
    id: str
    audio: str
    text: str
    language: str | None = None
    speaker: str | None = None
    hypothesis: str | None = None
    detected_language: str | None = None
    normalizer: str | None = None
    normalized_text: str | None = None
    normalized_hypothesis: str | None = None
    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    duration: float = 0.0  # seconds of audio
    seconds: float = 0.0  # of computation
    error: str | None = None
    session: str | None = None  # a meeting or call, which may have several recordings
    recording: str | None = None  # that the utterance is part of
    snr: float | None = None  # signal-to-noise ratio in dB, if known
    protocol: str = "plain"  # of counting words
    start: float | None = None  # seconds in `audio`; None: from its start, to its end
    end: float | None = None
    channel: int | None = None
    chunk: int | None = None  # its position among the pieces of `recording`, whose full text is `text`
    stream: dict[str, Any] | None = None  # of live recognition: a `streams.trace.StreamTrace`

    @property
    def counts(self) -> WordErrors:
        """Its word errors."""
        return WordErrors(self.words, self.substitutions, self.deletions, self.insertions)


@dataclass
class RowLog:
    """An open rows file; `rows` are the scored ones, `sessions` where they were made, `bad` the damaged lines."""

    path: Path
    file: JsonLog
    rows: dict[int, ScoredRow]
    sessions: list[dict[str, Any]]
    bad: list[Problem] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, header: Mapping[str, Any], session: Mapping[str, Any], *, restart: bool = False) -> Self:
        """Create a file, or resume one with the same header; `restart` discards the rows of an earlier evaluation.

        Raises `OptionError` for a file of another kind or one made with another model, options or normalizer, and
        `OutputError` where it cannot be written.
        """
        try:
            lines = _lines(path)
            found = _read(path, lines, header, restart=restart) if lines else Lines({}, [], [], [])
            file = JsonLog(path, restart=restart or not lines, allow_nan=False)
        except OSError as error:
            raise cannot_write(path, error) from error
        rows = {row.row: row for row in found.rows if row.error is None}
        log = cls(path, file, rows, [*found.sessions, dict(session)], found.bad)
        try:
            if not lines or restart:
                log._append({MARK: _VERSION, **header})
            log._append({"session": dict(session)})
        except OutputError:
            log.__exit__()
            raise
        return log

    def add(self, row: ScoredRow) -> None:
        """Append a row and flush it. Raises `OutputError`."""
        self.rows[row.row] = row
        self._append({**asdict(row), "audio": public_name(row.audio)})

    def _append(self, data: Mapping[str, Any]) -> None:
        try:
            self.file.append(data)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()


def _lines(path: Path) -> list[bytes]:
    if path.is_dir():
        raise OptionError(f"{path}: expected a file for rows, found a folder")
    if not path.is_file():  # none yet, or a pipe or device, from which no rows can be read back
        return []
    lines = whole_lines(path)
    torn = b"" if lines else path.read_bytes()
    if not f'{{"{MARK}"'.encode().startswith(torn[: len(MARK) + 3]):
        raise _foreign(path)
    return lines


def _read(path: Path, lines: list[bytes], header: Mapping[str, Any], *, restart: bool) -> Lines:
    found = read_lines(lines[:1] if restart else lines)
    if found is None:
        raise _foreign(path)
    wanted = json.loads(json.dumps(header))
    for key in () if restart else _IDENTITY:
        if found.header.get(key) != wanted.get(key):
            raise OptionError(
                f"{path}: was made with {_difference(key, found.header.get(key), wanted.get(key))}: "
                "start over with --restart, or choose another --output"
            )
    return found


@dataclass(frozen=True)
class Lines:
    """The content of a rows file: its header, the rows in order, the sessions, and the damaged lines."""

    header: Row
    rows: list[ScoredRow]
    sessions: list[dict[str, Any]]
    bad: list[Problem]


def read_lines(lines: Sequence[bytes]) -> Lines | None:
    """Read the lines of a rows file; None where the first line is not a header."""
    found = Lines({}, [], [], [])
    for number, line in enumerate(lines, start=1):
        try:
            value = parse_json(line)
            if number == 1:
                found = Lines(value, [], [], [])
            elif "row" in value:
                found.rows.append(_scored(value))
            elif isinstance(value.get("session"), dict):
                found.sessions.append(value["session"])
            else:
                raise BadRow("neither a row nor a session")
        except BadRow as error:
            found.bad.append(Problem(f"line {number}", str(error)))
    return found if MARK in found.header else None


def bad_lines(path: Path, bad: Sequence[Problem], then: str) -> list[str]:
    """Notices on the damaged lines of a rows file; `then` says what happens to them."""
    if not bad:
        return []
    more = [f"  and {len(bad) - MOST_NAMED} more"] if len(bad) > MOST_NAMED else []
    return [f"{path}: {len(bad)} rows cannot be used and {then}", *(f"  {one}" for one in bad[:MOST_NAMED]), *more]


def _scored(row: Row) -> ScoredRow:
    """The row; unknown keys are ignored. Raises `BadRow` for an incomplete row."""
    row = {_FIRST_NAMES.get(key, key): value for key, value in row.items()}
    values: dict[str, Any] = {}
    for name, kinds, required in _KEYS:
        if name in row:
            value = values[name] = row[name]
            if type(value) not in kinds or not (isinstance(value, _WHOLE) or _counts(value, kinds)):
                raise BadRow(f"the key {name!r} cannot be {shown(value)}")
        elif required:
            raise BadRow(f"the key {name!r} is missing")
    if (normalizer := values.get("normalizer")) is not None:
        values["normalizer"] = normalizer.replace("marks@", "unicode@")  # its former name
    if values.get("stream") is not None:
        StreamTrace.from_dict(values["stream"])  # refuses a damaged one
    return ScoredRow(**values)


def _counts(value: float, kinds: tuple[type, ...]) -> bool:
    return -(2**63) < value < 2**63 and (float in kinds or value >= 0)


def _kinds(hint: Any) -> tuple[type, ...]:
    kinds = tuple(get_origin(kind) or kind for kind in get_args(hint) or (hint,))
    return (*kinds, int) if float in kinds else kinds


_FIRST_NAMES = {"heard_language": "detected_language"}  # of keys in files of earlier versions
_WHOLE = (NoneType, str, dict)  # any value of these; numbers have bounds
_HINTS = get_type_hints(ScoredRow)
_KEYS = [(one.name, _kinds(_HINTS[one.name]), one.default is MISSING) for one in fields(ScoredRow)]


def _foreign(path: Path) -> OptionError:
    return OptionError(f"{path}: already exists and was not written by `linnet evaluate`: choose another --output")


def _difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        key, old, new = next((k, old.get(k), new.get(k)) for k in {**old, **new} if old.get(k) != new.get(k))
    return f"another {key.replace('_', ' ')} ({old}, now {new})"
