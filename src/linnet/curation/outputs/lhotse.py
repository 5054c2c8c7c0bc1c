"""Lhotse cuts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from linnet.curation.outputs.base import Chosen, Written
from linnet.data.manifest import place
from linnet.data.sources.embedded import split_address
from linnet.files import whole_file
from linnet.urls import is_url

_EIGHT = 8  # decimal places


def write_lhotse(path: Path, rows: Iterable[Chosen]) -> Written:
    """A cut with one supervision per kept utterance; gzipped if the name ends with `.gz`.

    A cut has the rate and the length of its recording, read from the file's header. Audio inside other files, at URLs,
    and in containers that soundfile cannot read is not supported and counted.
    """
    written = Written()
    with whole_file(path) as raw:
        packed = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if path.suffix == ".gz" else None
        file = packed or raw
        for row in rows:
            if not row.kept:
                continue
            cut = _cut(row, path.parent)
            if isinstance(cut, str):
                written.left_out[cut] += 1
            else:
                file.write((json.dumps(cut, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))
                written.rows += 1
        if packed is not None:
            packed.close()
    return written


def _cut(row: Chosen, folder: Path) -> dict[str, Any] | str:
    """The cut, or why it is impossible."""
    one = row.utterance
    if split_address(one.audio) is not None or is_url(one.audio):
        return "Lhotse needs files, but their audio is inside another file or at a URL"
    header = _header(one.audio)
    if header is None:
        return "the header of their file cannot be read"
    rate, frames, channels = header
    start = one.start or 0.0
    length = round(min(row.seconds, frames / rate - start), _EIGHT)
    scores = {f"score_{name}": value for name, value in row.scores.items() if value is not None}
    several = one.channel is None and channels > 1
    channel: int | list[int] = list(range(channels)) if several else one.channel or 0
    name = one.recording or one.audio
    supervision = {
        "id": one.id,
        "recording_id": name,
        "start": 0.0,
        "duration": length,
        "channel": channel,
        "text": one.text,
        "language": one.language,
        "speaker": one.speaker,
    }
    return {
        "id": one.id,
        "start": start,
        "duration": length,
        "channel": channel,
        "supervisions": [{key: value for key, value in supervision.items() if value is not None}],
        "recording": {
            "id": name,
            "sources": [{"type": "file", "channels": list(range(channels)), "source": place(one.audio, folder)}],
            "sampling_rate": rate,
            "num_samples": frames,
            "duration": frames / rate,
            "channel_ids": list(range(channels)),
        },
        "custom": {"weight": row.weight, "fate": row.fate, **scores},
        "type": "MultiCut" if several else "MonoCut",
    }


@lru_cache(maxsize=1024)
def _header(audio: str) -> tuple[int, int, int] | None:
    """Rate, samples and channels of a file."""
    import soundfile

    try:
        found = soundfile.info(audio)
    except (OSError, soundfile.SoundFileError):
        return None
    return found.samplerate, found.frames, found.channels
