"""Detecting the kind of a source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from linnet.data.fields import BadRow, parse_json
from linnet.data.sources.common_voice import COLUMNS
from linnet.data.sources.lines import read_lines
from linnet.errors import OptionError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES = frozenset({".jsonl", ".json", ".gz", ".tsv", ".parquet", ".arrow", ".scp"})
_LOOKED_AT = 100  # lines searched for a valid one
_CUTS = ("MonoCut", "MultiCut", "MixedCut", "PaddingCut", "DataCut")


def detect(path: str) -> tuple[str, str]:
    """The kind of a path, and how it was detected. Raises `OptionError` where it does not exist or is unknown."""
    place = Path(path)
    if place.is_dir():
        return _folder(place)
    if place.exists():
        return _file(place)
    if is_hub_id(path):
        return "hub", "no such path, and it looks like a Hub id"
    raise OptionError(f"{path}: no such file or folder; expected a manifest, a data folder or a Hub id OWNER/NAME")


def is_hub_id(path: str) -> bool:
    """Whether it looks like the id of a data set on the Hub.

    >>> is_hub_id("google/fleurs"), is_hub_id("calls/test.jsonl")
    (True, False)
    """
    return _HUB_ID.fullmatch(path) is not None and Path(path).suffix not in _SUFFIXES


def _folder(folder: Path) -> tuple[str, str]:
    if (folder / "wav.scp").is_file():
        return "kaldi", "a folder with wav.scp"
    for suffix in ("arrow", "parquet"):
        first = next(folder.rglob(f"*.{suffix}"), None)
        if first is not None:
            return suffix, f"a folder with {first.relative_to(folder)}"
    manifests = sorted(file.name for pattern in ("*.tsv", "*.jsonl", "*.jsonl.gz") for file in folder.glob(pattern))
    if manifests:
        raise OptionError(f"{folder}: holds several sources; name one of them: {', '.join(manifests)}")
    raise OptionError(f"{folder}: expected wav.scp (Kaldi) or .parquet or .arrow files (Hugging Face), found neither")


def _file(path: Path) -> tuple[str, str]:
    with path.open("rb") as file:
        head = file.read(6)
    if head[:4] == b"PAR1":
        return "parquet", "a Parquet file"
    if head == b"ARROW1" or path.suffix == ".arrow":
        return "arrow", "an Arrow file"
    if path.name == "wav.scp":
        raise OptionError(f"{path}: name the folder, {path.parent}")
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise OptionError(f"{path}: is empty; expected one utterance per line")
    columns = first[1].decode("utf-8-sig", "replace").split("\t")
    if set(columns) >= COLUMNS:
        return "common-voice", f"tab-separated columns {', '.join(sorted(COLUMNS))}"
    for number, line in [first, *(pair for pair, _ in zip(lines, range(_LOOKED_AT), strict=False))]:
        try:
            row = parse_json(line)
        except BadRow as error:
            if number == first[0]:
                reason = str(error)
            continue
        return _row(row, path, number)
    raise OptionError(f"{path}: is not a source of a known kind: line {first[0]} is {reason}")


def _row(row: dict[str, Any], path: Path, number: int) -> tuple[str, str]:
    """The kind, by the keys of one JSON row."""
    if "supervisions" in row or row.get("type") in _CUTS or isinstance(row.get("recording"), dict):
        return "lhotse", "JSON lines with recording and supervisions"
    if "audio_filepath" in row:
        if "pred_text" in row and "time" in row:
            return "leaderboard", "JSON lines with audio_filepath, time and pred_text"
        return "nemo", "JSON lines with audio_filepath"
    if "audio" in row:
        return "linnet", "JSON lines with audio"
    if "sources" in row or "recording_id" in row:
        raise OptionError(
            f"{path}: is Lhotse's list of recordings or supervisions; make cuts of them (lhotse cut simple)"
        )
    keys = ", ".join(row) or "none"
    raise OptionError(
        f"{path}: line {number} has the keys {keys}; expected audio (Linnet), audio_filepath (NeMo, leaderboard) or "
        "recording and supervisions (Lhotse)"
    )
