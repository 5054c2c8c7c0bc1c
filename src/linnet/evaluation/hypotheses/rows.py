"""Hypotheses in JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linnet.data import fields
from linnet.data.fields import BadRow, Row
from linnet.data.manifest import default_id
from linnet.data.sources.base import Problem
from linnet.data.sources.lines import read_lines
from linnet.errors import OptionError
from linnet.evaluation.hypotheses.types import HypothesisFile, UtteranceHypothesis

HEARD = ("hypothesis", "pred_text")  # `text` is the reference where one of these is there
IDS = ("id", "utt_id")
SOUNDS = ("audio_filepath", "audio")  # with `offset` or `start`, where a row is about a stretch of one

Found = Iterator[UtteranceHypothesis | Problem]


def read_jsonl(into: HypothesisFile) -> Found:
    """Rows with a name and a text."""
    for where, row in _rows(into.path):
        yield row if isinstance(row, Problem) else _made(where, row, _heard_in)


def read_leaderboard(into: HypothesisFile) -> Found:
    """Rows with `audio_filepath` and `pred_text`."""
    for where, row in _rows(into.path):
        yield row if isinstance(row, Problem) else _made(where, row, _ranked)


def read_evaluation(into: HypothesisFile) -> Found:
    """The rows of an evaluation; a row that failed and was done again later has not failed."""
    failed: dict[str, str] = {}
    for where, row in _rows(into.path):
        if isinstance(row, Problem):
            yield row
        elif "row" in row:
            name, error = str(row.get("id")), row.get("error")
            if error is not None:
                failed[name] = f"{name}: {error}"
            else:
                failed.pop(name, None)
                yield _made(where, row, _heard_in)
    for name in failed.values():
        into.failed.add(name)


def read_segments(into: HypothesisFile) -> Found:
    """Rows `source`, `start`, `text`, one for each segment, joined in the order of their starts."""
    parts: dict[str, list[tuple[float, str]]] = {}
    for where, row in _rows(into.path):
        if isinstance(row, Problem):
            yield row
            continue
        try:
            source, text, start = fields.label(row, "source"), fields.text(row, "text"), fields.seconds(row, "start")
            if source is None or text is None or start is None:
                raise BadRow("expected the keys source, start and text")
            parts.setdefault(source, []).append((start, text.strip()))
        except BadRow as error:
            yield Problem(where, str(error))
    for source, segments in parts.items():
        segments.sort(key=lambda segment: segment[0])
        yield UtteranceHypothesis(source, " ".join(text for _, text in segments if text))


def _rows(path: Path) -> Iterator[tuple[str, Row | Problem]]:
    for number, line in read_lines(path):
        where = f"line {number}"
        check_utf8(path, number, line)
        try:
            yield where, fields.parse_json(line)
        except BadRow as error:
            yield where, Problem(where, str(error))


def check_utf8(path: Path, number: int, line: bytes) -> str:
    """The text of a line. Raises `OptionError`: another encoding is a matter of the whole file, not of this line."""
    try:
        return fields.decode(line)
    except BadRow as error:
        raise OptionError(f"{path}, line {number}: {error}") from error


def _made(where: str, row: Row, make: Any) -> UtteranceHypothesis | Problem:
    try:
        made: UtteranceHypothesis = make(row)
    except BadRow as error:
        return Problem(where, str(error))
    return made


def _heard_in(row: Row) -> UtteranceHypothesis:
    name = fields.label(row, *IDS) or _stretch(row)
    if name is None:
        raise BadRow(f"has no name; expected one of the keys {', '.join((*IDS, *SOUNDS))}")
    heard = fields.text(row, *HEARD)
    told = any(key in row for key in HEARD)
    reference = fields.text(row, "text")
    text = heard if told else reference
    if text is None:
        raise BadRow(f"{name} has no hypothesis; expected one of the keys {', '.join(HEARD)}, text")
    return UtteranceHypothesis(
        name,
        text,
        reference=reference if told else None,
        seconds=fields.seconds(row, "seconds"),
        duration=fields.seconds(row, "duration"),
    )


def _stretch(row: Row) -> str | None:
    """The name that a manifest's row without an id has."""
    sound = fields.label(row, *SOUNDS)
    start = fields.seconds(row, "offset" if "offset" in row else "start")
    return None if sound is None else default_id(sound, start)


def _ranked(row: Row) -> UtteranceHypothesis:
    name, heard = fields.label(row, "audio_filepath"), fields.text(row, "pred_text")
    if name is None or heard is None:
        raise BadRow("expected the keys audio_filepath and pred_text")
    return UtteranceHypothesis(
        default_id(name, None),
        heard,
        reference=fields.text(row, "text"),
        seconds=fields.seconds(row, "time"),
        duration=fields.seconds(row, "duration"),
    )
