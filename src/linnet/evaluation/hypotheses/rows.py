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

HYPOTHESES = ("hypothesis", "pred_text")  # `text` is the reference if one of these is present
IDS = ("id", "utt_id")
AUDIO = ("audio_filepath", "audio")  # with `offset` or `start` for a part of a recording

Found = Iterator[UtteranceHypothesis | Problem]


def read_jsonl(into: HypothesisFile) -> Found:
    """Rows with a name and a text."""
    for where, row in _rows(into.path):
        yield row if isinstance(row, Problem) else _made(where, row, _plain)


def read_leaderboard(into: HypothesisFile) -> Found:
    """Rows with `audio_filepath` and `pred_text`."""
    for where, row in _rows(into.path):
        yield row if isinstance(row, Problem) else _made(where, row, _ranked)


def read_evaluation(into: HypothesisFile) -> Found:
    """The rows of an evaluation; a failed row that was scored later has not failed."""
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
                yield _made(where, row, _plain)
    for name in failed.values():
        into.failed.add(name)


def read_segments(into: HypothesisFile) -> Found:
    """Rows `source`, `start`, `text`, one per segment, joined in order of their starts."""
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
    """The text of a line. Raises `OptionError` if it is not UTF-8, which concerns the whole file."""
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


def _plain(row: Row) -> UtteranceHypothesis:
    name = fields.label(row, *IDS) or _stretch(row)
    if name is None:
        raise BadRow(f"has no name; expected one of the keys {', '.join((*IDS, *AUDIO))}")
    reference, named = fields.text(row, "text"), any(key in row for key in HYPOTHESES)
    text = fields.text(row, *HYPOTHESES) if named else reference
    if text is None:
        raise BadRow(f"{name} has no hypothesis; expected one of the keys {', '.join(HYPOTHESES)}, text")
    return UtteranceHypothesis(
        name,
        text,
        reference=reference if named else None,
        seconds=fields.seconds(row, "seconds"),
        duration=fields.seconds(row, "duration"),
    )


def _stretch(row: Row) -> str | None:
    """The default id of a manifest row."""
    audio = fields.label(row, *AUDIO)
    start = fields.seconds(row, "offset" if "offset" in row else "start")
    return None if audio is None else default_id(audio, start)


def _ranked(row: Row) -> UtteranceHypothesis:
    name, text = fields.label(row, "audio_filepath"), fields.text(row, "pred_text")
    if name is None or text is None:
        raise BadRow("expected the keys audio_filepath and pred_text")
    return UtteranceHypothesis(
        default_id(name, None),
        text,
        reference=fields.text(row, "text"),
        seconds=fields.seconds(row, "time"),
        duration=fields.seconds(row, "duration"),
    )
