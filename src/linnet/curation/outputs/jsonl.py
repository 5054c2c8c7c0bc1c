"""Linnet's manifests and NeMo's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from linnet.curation.outputs.base import Chosen, Written
from linnet.data.fields import BadRow, parse_json
from linnet.data.manifest import Utterance, place, to_line
from linnet.data.sources import SourceSpec
from linnet.data.sources.jsonl import read_nemo
from linnet.data.sources.lines import read_lines
from linnet.errors import OptionError
from linnet.files import whole_file

_SIX = 6  # decimal places
_MARKABLE = "--mark takes the NeMo manifest of the corpus that was curated, with its rows in the same order"


def write_linnet(path: Path, rows: Iterable[Chosen]) -> Written:
    """The kept utterances, each with its `weight`, its `fate` and a key `score_*` for each component."""
    written = Written()
    with whole_file(path) as file:
        for row in rows:
            if row.kept:
                line = json.loads(to_line(row.utterance))
                line["audio"] = place(row.utterance.audio, path.parent)
                line.setdefault("duration", round(row.seconds, _SIX))
                file.write(_line({**line, **_extras(row)}))
                written.rows += 1
    return written


def write_nemo(path: Path, rows: Iterable[Chosen]) -> Written:
    """All utterances as NeMo's rows; dropped ones have `_skipme`, which its loaders skip."""
    written = Written()
    with whole_file(path) as file:
        for row in rows:
            one = row.utterance
            line: dict[str, Any] = {
                "audio_filepath": place(one.audio, path.parent),
                "offset": one.start,
                "duration": round(row.seconds or one.duration or 0.0, _SIX),
                "text": one.text,
                "lang": one.language,
                "id": one.id,
                "speaker": one.speaker,
                "channel_selector": one.channel,
                "recording_id": one.recording,
                "session_id": one.session,
                "snr": one.snr,
            }
            line = {key: value for key, value in line.items() if value is not None}
            file.write(_line({**line, **_extras(row), **_mark(row)}))
            written.rows += 1
    return written


def mark_nemo(path: Path, rows: Iterable[Chosen], original: Path) -> Written:
    """The unchanged rows of a NeMo manifest in order, with dropped ones marked with `_skipme`.

    Paths are unchanged: the new manifest belongs next to the old one. A line that is not JSON is dropped; an invalid
    row is marked. Raises `OptionError` for a manifest with other rows than the selection.
    """
    written = Written()
    left = iter(rows)
    with whole_file(path) as file:
        for number, (line, found) in enumerate(_nemo(original), start=1):
            row = None if found is None else next(left, None)
            if found is not None and (row is None or not _same(found, row.utterance)):
                other = "nothing" if row is None else row.utterance.id
                raise OptionError(f"{original}, line {number}: {found.id}, but {other} in the selection: {_MARKABLE}")
            if line is None:
                written.left_out["a line of the manifest is not JSON"] += 1
                continue
            marks = {"_skipme": True} if row is None else {**_extras(row), **_mark(row)}
            file.write(_line({**line, **marks}))
            written.rows += 1
        if (missing := next(left, None)) is not None:
            raise OptionError(f"{original}: has no row {missing.utterance.id} that can be used: {_MARKABLE}")
    return written


def _same(one: Utterance, other: Utterance) -> bool:
    """Whether a row of a NeMo manifest is an utterance of the selection, which may be read from a copy elsewhere."""
    named = other.id == one.id or other.id.startswith(f"{one.id}#")  # duplicate ids are renamed
    return named or (Path(one.audio).name, one.text) == (Path(other.audio).name, other.text)


def _nemo(original: Path) -> Iterator[tuple[dict[str, Any] | None, Utterance | None]]:
    """Each line with its utterance."""
    for (_, raw), found in zip(read_lines(original), read_nemo(SourceSpec(str(original))), strict=True):
        try:
            line = parse_json(raw)
        except BadRow:
            yield None, None
            continue
        yield line, found if isinstance(found, Utterance) else None


def _extras(row: Chosen) -> dict[str, Any]:
    scores = {f"score_{name}": round(value, _SIX) for name, value in row.scores.items() if value is not None}
    return {"weight": round(row.weight, _SIX), "fate": row.fate, **scores}


def _mark(row: Chosen) -> dict[str, bool]:
    return {} if row.kept else {"_skipme": True}


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
