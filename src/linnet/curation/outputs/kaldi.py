"""Kaldi's data folders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from linnet.curation.outputs.base import Chosen, Written
from linnet.data.manifest import place
from linnet.data.sources.embedded import split_address
from linnet.errors import OptionError
from linnet.files import whole_file, whole_folder
from linnet.urls import is_url

_BLANK = re.compile(r"\s+")
_FILES = {"wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2lang", "utt2dur", "utt2weight"}


def check_kaldi(folder: Path) -> None:
    """Raise `OptionError` for a place that holds anything else than an earlier selection, which would be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OptionError(f"{folder}: is a file: choose another --output, Kaldi's is a folder")
    if others := sorted(path.name for path in folder.iterdir() if path.name not in _FILES):
        raise OptionError(f"{folder}: holds {others[0]}, and would be replaced: choose another --output, or empty it")


def write_kaldi(folder: Path, rows: Iterable[Chosen]) -> Written:
    """A folder with wav.scp, segments, text, utt2spk, spk2utt, utt2lang, utt2dur and utt2weight, sorted by bytes.

    Keys have no blanks: those of ids and speakers become `_`. An utterance's key begins with its speaker's, as required
    by Kaldi's sorting; one without a speaker is its own speaker. Audio inside other files, at URLs, and single channels
    of a file cannot be in wav.scp without a command, and are counted. Raises `OptionError` as `check_kaldi` does.
    """
    check_kaldi(folder)
    written = Written()
    tables: dict[str, dict[str, str]] = defaultdict(dict)
    recordings: dict[str, str] = {}  # of each recording
    for row in rows:
        if not row.kept:
            continue
        one = row.utterance
        if split_address(one.audio) is not None or is_url(one.audio):
            written.left_out["wav.scp needs files, but their audio is inside another file or at a URL"] += 1
        elif one.channel is not None:
            written.left_out["wav.scp needs whole files, but they are one channel of a file"] += 1
        else:
            _add(tables, recordings, row, folder)
            written.rows += 1
    _groups(tables)
    with whole_folder(folder, "replace") as draft:
        for name, table in tables.items():
            _write(draft / name, table)
    return written


def _add(tables: Mapping[str, dict[str, str]], recordings: dict[str, str], row: Chosen, folder: Path) -> None:
    one = row.utterance
    speaker = _key(one.speaker) if one.speaker else None
    key = _key(one.id) if speaker is None or _key(one.id).startswith(speaker) else f"{speaker}-{_key(one.id)}"
    key = _new(key, tables["utt2spk"])
    if one.audio not in recordings:
        recordings[one.audio] = _new(_key(one.recording or one.id), tables["wav.scp"])
        tables["wav.scp"][recordings[one.audio]] = place(one.audio, folder)
    start = one.start or 0.0
    tables["segments"][key] = f"{recordings[one.audio]} {start:.3f} {start + row.seconds:.3f}"
    tables["text"][key] = _BLANK.sub(" ", one.text or "")
    tables["utt2spk"][key] = speaker or key
    tables["utt2dur"][key] = f"{row.seconds:.3f}"
    tables["utt2weight"][key] = f"{row.weight:.6f}"
    if one.language:
        tables["utt2lang"][key] = one.language


def _groups(tables: Mapping[str, dict[str, str]]) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for key in sorted(tables["utt2spk"], key=str.encode):
        groups[tables["utt2spk"][key]].append(key)
    tables["spk2utt"].update({speaker: " ".join(keys) for speaker, keys in groups.items()})


def _key(name: str) -> str:
    return _BLANK.sub("_", name.strip()) or "_"


def _new(key: str, known: Mapping[str, str]) -> str:
    """The key, with a number if it is taken: two ids may differ only by blanks."""
    number, made = 1, key
    while made in known:
        number += 1
        made = f"{key}-{number}"
    return made


def _write(path: Path, table: Mapping[str, str]) -> None:
    lines = sorted(f"{key} {value}".rstrip().encode(errors="surrogateescape") for key, value in table.items())
    with whole_file(path) as file:
        for line in sorted(lines, key=lambda one: one.split(b" ", 1)[0]):
            file.write(line + b"\n")
