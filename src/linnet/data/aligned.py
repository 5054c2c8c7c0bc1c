"""Utterances whose words have times: manifests with the key `words`, as `linnet data align` writes them.

    {"audio": "a.wav", "text": "three one", "words": [{"word": "three", "start": 0.31, "end": 0.62}, ...]}

Times are seconds from the start of the utterance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from linnet.data.fields import BadRow, Row, parse_json, shown
from linnet.data.manifest import Utterance, WordTime, from_row, to_line
from linnet.errors import LinnetError

_LATE = 0.1  # seconds that a last word may end after its recording


@dataclass(frozen=True, slots=True)
class AlignedUtterance:
    """An utterance and its words in order; none where nothing is said. `score` is how well the words fit the sound."""

    utterance: Utterance
    words: tuple[WordTime, ...]
    score: float | None = None


def read_aligned(path: Path) -> Iterator[AlignedUtterance | str]:
    """The utterances of a manifest with word times; for a row that cannot be used its place and the reason instead.

    Raises `LinnetError` where the file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LinnetError(f"{path}: cannot read the manifest: {error.strerror}.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = parse_json(line)
                duration = row.get("duration")
                words = words_of(row, duration if isinstance(duration, int | float) else None)
                yield AlignedUtterance(from_row(row, path.parent), words, row.get("score"))
            except BadRow as error:
                yield f"{path}, line {number}: {error}"


def words_of(row: Row, duration: float | None = None) -> tuple[WordTime, ...]:
    """The words of a row. Raises `BadRow` where it has none, or times that cannot be.

    A row with an empty text needs no words.
    """
    given: Any = row.get("words")
    if given is None and row.get("text") == "":
        return ()
    if not isinstance(given, list):
        raise BadRow('the key "words" is missing: make it with  linnet data align')
    words = tuple(_word(value) for value in given)
    if not words and row.get("text"):
        raise BadRow("it has a text, but no words")
    for before, word in pairwise(words):
        if word.end < before.end:
            raise BadRow(f"the word {word.word!r} ends before {before.word!r}, which it follows")
    if words and duration is not None and words[-1].end > duration + _LATE:
        raise BadRow(f"the word {words[-1].word!r} ends at {words[-1].end:g} s, after the recording ({duration:g} s)")
    return words


def _word(value: Any) -> WordTime:
    try:
        word = WordTime(str(value["word"]).strip(), float(value["start"]), float(value["end"]))
    except (KeyError, TypeError, ValueError):
        raise BadRow(f'a word must be {{"word", "start", "end"}}, got {shown(value)}') from None
    if not word.word or not 0 <= word.start <= word.end < math.inf:
        raise BadRow(f"a word needs letters and a start before its end, got {shown(value)}")
    return word


def aligned_line(utterance: Utterance, words: Sequence[WordTime], **more: Any) -> str:
    """A line of a manifest with word times, without the line break; `more` are further keys."""
    row = json.loads(to_line(utterance))
    row["words"] = [{"word": word.word, "start": round(word.start, 3), "end": round(word.end, 3)} for word in words]
    return json.dumps({**row, **more}, ensure_ascii=False)
