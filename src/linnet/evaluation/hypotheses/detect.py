"""The format of a hypotheses file, detected from its first lines."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path

from linnet.data.fields import BadRow, parse_json
from linnet.data.sources.lines import read_lines
from linnet.errors import OptionError
from linnet.evaluation.hypotheses.ctm import is_ctm_line
from linnet.evaluation.hypotheses.rows import check_utf8
from linnet.evaluation.hypotheses.text import COMMENT, TRN
from linnet.evaluation.log import MARK

_LOOKED_AT = 100  # lines


def detect(path: Path, known: Collection[str] | None) -> tuple[str, str]:
    """The format, and by what it was detected; `known` are the ids of the references, if available."""
    lines = [check_utf8(path, number, line) for number, line in islice(read_lines(path), _LOOKED_AT)]
    content = [line for line in lines if not line.startswith(COMMENT)]
    if not content:
        raise OptionError(f"{path}: is empty; expected hypotheses")
    if content[0].lstrip().startswith("{"):
        return _json(content)
    if path.suffix == ".ctm" or all(is_ctm_line(line.split()) for line in content):
        return "ctm", "times in the third and fourth column"
    if path.suffix == ".trn" or all(map(TRN.fullmatch, content)):
        return "trn", "lines end in an id in parentheses"
    return _named_or_not(content, known)


def _named_or_not(lines: list[str], known: Collection[str] | None) -> tuple[str, str]:
    names = [line.split(maxsplit=1)[0] for line in lines]
    if known:
        found = sum(name in known for name in names)
        kind = "kaldi" if 2 * found >= len(names) else "lines"
        return kind, f"{found} of the first {len(names)} lines begin with the id of a reference"
    if all("\t" in line for line in lines):
        return "kaldi", "a tab in every line"
    if len(set(names)) == len(names) and all(map(_like_an_id, names)):
        return "kaldi", "every line begins with a different name"
    return "lines", "no line begins with a name"


def _json(lines: list[str]) -> tuple[str, str]:
    for line in lines:
        try:
            row = parse_json(line.encode())
        except BadRow:
            continue
        if MARK in row:
            return "evaluation", "rows of linnet evaluate"
        if "audio_filepath" in row and "pred_text" in row:
            return "leaderboard", "JSON lines with audio_filepath and pred_text"
        if "source" in row and "start" in row:
            return "segments", "JSON lines with source and start"
        break
    return "jsonl", "JSON lines"


def _like_an_id(name: str) -> bool:
    return any(letter.isdigit() for letter in name) and any(letter in "-_./" for letter in name)
