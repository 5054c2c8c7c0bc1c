"""Results of the windows of one long recording, written to a file as they come, so that a killed run can resume.

A resumed run goes through the recording as before; windows with the same samples, options and preceding text as an
entry of the journal take their results from it. So the transcript equals that of an uninterrupted run; only decoding
the audio and detecting speech are repeated, at several hundred times real time.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from linnet.files import JsonLog, whole_lines
from linnet.transcription.backend import Request

SHORTEST = 120.0  # seconds of a recording: shorter ones are repeated faster than looked up

_MARK = "linnet_journal"
_VERSION = 2  # of the keys; a journal of another version is discarded


class Journal:
    """The results for one recording, in the file at `path`; those of another `fingerprint` or version are discarded.

    If the file cannot be written, `broken` gives the reason and the run continues without it.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.broken: str | None = None
        self._header = {_MARK: _VERSION, "fingerprint": fingerprint}
        self._known: dict[str, Any] = {}
        self._log: JsonLog | None = None
        lines = _lines(path)
        if lines and _object(lines[0]) == self._header:
            found = [row for line in lines[1:] if (row := _object(line)) is not None and "window" in row]
            self._known = {row["window"]: row.get("answer") for row in found}

    def recall(self, request: Request, kind: type[Any]) -> Any | None:
        """The earlier result of this request, of the dataclass `kind`; None if there is none."""
        known = self._known.get(_key(request)) if self._known else None
        if known is None:
            return None
        try:
            return rebuild(kind, known)
        except (TypeError, ValueError, KeyError, AttributeError):
            return None  # a damaged line: the window is decoded again

    def keep(self, request: Request, answer: Any) -> None:
        """Append a result; it outlives this process once this returns."""
        if self.broken is None:
            try:
                self._append({"window": _key(request), "answer": asdict(answer)})
            except OSError as error:
                self.broken = error.strerror or str(error)
                self.close()

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()

    def _append(self, data: Mapping[str, Any]) -> None:
        if self._log is None:
            self._log = JsonLog(self.path, restart=not self._known)
            if not self._known:
                self._log.append(self._header)
        self._log.append(data)


def rebuild(kind: Any, data: Any) -> Any:
    """Rebuild a value of this type from the output of `dataclasses.asdict` and JSON. Raises `TypeError` for other data.

    >>> rebuild(tuple[int, ...], [1, 2])
    (1, 2)
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (some,) = (one for one in inner if one is not type(None))
        return None if data is None else rebuild(some, data)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{field.name: rebuild(hints[field.name], data[field.name]) for field in fields(kind)})  # type: ignore[operator]
    if origin is tuple:
        return tuple(rebuild(inner[0], one) for one in data)
    if origin is not None and issubclass(origin, Mapping):
        return {rebuild(inner[0], key): rebuild(inner[1], one) for key, one in data.items()}
    accepted = (int, float) if kind is float else kind
    if not isinstance(data, accepted):
        raise TypeError(f"expected {kind.__name__}, found {data!r}")
    return data


def _key(request: Request) -> str:
    """32 hexadecimal digits of everything that determines a result."""
    digest = hashlib.blake2b(request.samples.tobytes(), digest_size=16)
    digest.update(repr((request.options, request.prompt, request.language)).encode())
    return digest.hexdigest()


def _lines(path: Path) -> list[bytes]:
    try:
        return whole_lines(path)
    except OSError:
        return []  # none yet


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None  # truncated
    return value if isinstance(value, dict) else None
