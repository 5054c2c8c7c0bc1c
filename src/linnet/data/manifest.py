"""Manifests: one JSON object per line, one line per utterance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linnet.errors import LinnetError

_TEXT_KEYS = ("text", "language", "speaker", "id")


@dataclass(frozen=True)
class Utterance:
    """One recording, or one stretch of speech, with what is known of it.

    ``audio`` is a path or a URL, ``duration`` is in seconds, ``language`` is a code such as ``en``.
    A missing ``text`` is ``None``; an empty ``text`` says that nothing is spoken.

    Example:
        >>> Utterance("a.wav", text="three one four").id
        'a.wav'
    """

    audio: str
    text: str | None = None
    duration: float | None = None
    language: str | None = None
    id: str = ""
    speaker: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", self.audio)


def read_manifest(path: str | os.PathLike[str]) -> Iterator[Utterance]:
    """Yield the utterances of a JSONL manifest in order, holding one line at a time.

    Keys: ``audio`` (required), ``text``, ``duration``, ``language``, ``speaker``, ``id`` (by default the
    ``audio`` value as written). Other keys are ignored: tools add their own. A relative ``audio`` path is
    relative to the manifest's folder. Blank lines are skipped.

    Raises:
        LinnetError: the file cannot be read, or a line is not an utterance; names the file and the line.
    """
    source = Path(path)
    try:
        with source.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse(line, source, number)
    except OSError as error:
        raise LinnetError(f"{source}: cannot read the manifest: {error.strerror}.") from error


def write_manifest(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> int:
    """Write utterances as JSONL and return how many; the file appears whole or not at all.

    Keys without a value are left out. ``audio`` is written as it is: make it relative to the manifest's
    folder first if the two are to move together.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for utterance in utterances:
                row = {key: value for key, value in asdict(utterance).items() if value is not None}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _parse(line: bytes, source: Path, number: int) -> Utterance:
    where = f"{source}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise LinnetError(f"{where}: not JSON ({error}). Each line must be one JSON object.") from error
    if not isinstance(row, dict):
        raise LinnetError(f"{where}: expected a JSON object with the key 'audio', got {type(row).__name__}.")
    audio = row.get("audio")
    if not isinstance(audio, str) or not audio:
        raise LinnetError(f"{where}: the key 'audio' must be a path or a URL, got {audio!r}.")
    texts = {key: _text(row, key, where) for key in _TEXT_KEYS}
    return Utterance(
        audio=_resolve(audio, source.parent),
        text=texts["text"],
        duration=_duration(row.get("duration"), where),
        language=texts["language"],
        id=texts["id"] or audio,
        speaker=texts["speaker"],
    )


def _text(row: dict[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if key == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise LinnetError(f"{where}: the key {key!r} must be a string, got {value!r}.")
    return value


def _duration(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise LinnetError(f"{where}: the key 'duration' must be seconds, zero or more, got {value!r}.")
    return float(value)


def _resolve(audio: str, folder: Path) -> str:
    if "://" in audio:
        return audio
    return str(folder / audio)
