"""Parquet for Hugging Face's `datasets`, with a column `audio`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from linnet.audio.types import SAMPLE_RATE
from linnet.curation.outputs.base import Chosen, Written
from linnet.curation.parquet import parquet
from linnet.data import Utterance
from linnet.data.samples import UtteranceReader
from linnet.data.sources.embedded import AudioInputs, split_address
from linnet.errors import AudioError, LinnetError, OptionError
from linnet.files import whole_file
from linnet.urls import is_url

_GROUP = 256  # rows in memory at once, with audio
_TEXTS = ("id", "text", "language", "speaker", "domain", "source", "session", "recording", "fate")
_NUMBERS = ("duration", "weight")


def write_parquet(path: Path, rows: Iterable[Chosen], *, embed: bool = True) -> Written:
    """The kept utterances as rows of `audio` {bytes, path}, `text`, `duration`, labels, `weight` and `score_*`.

    The bytes are those of the file, or 16 kHz FLAC of a stretch or a channel. Without `embed` only the path is written:
    a stretch, a channel, and audio inside another file have no path and are counted, as well as unreadable files.
    """
    pq = parquet()
    import pyarrow as pa

    written = Written()
    with whole_file(path) as file, UtteranceReader() as reader, AudioInputs() as inputs:
        writer = None
        held: list[dict[str, Any]] = []
        schema: Any = None
        for row in rows:
            if not row.kept:
                continue
            schema = schema or _schema(pa, row)
            try:
                held.append({**_columns(row), "audio": _sound(row.utterance, reader, inputs, embed=embed)})
            except OptionError as error:
                written.left_out[str(error)] += 1
                continue
            except LinnetError:
                written.left_out["their audio cannot be read"] += 1
                continue
            written.rows += 1
            if len(held) == _GROUP:
                writer = _flush(writer, pa, pq, file, schema, held)
        _flush(writer, pa, pq, file, schema or _schema(pa, None), held).close()
    return written


def _flush(writer: Any, pa: Any, pq: Any, file: Any, schema: Any, held: list[dict[str, Any]]) -> Any:
    writer = writer or pq.ParquetWriter(file, schema)
    writer.write_table(pa.Table.from_pylist(held, schema))
    held.clear()
    return writer


def _columns(row: Chosen) -> dict[str, Any]:
    found = {name: getattr(row.utterance, name, None) for name in _TEXTS if name != "fate"}
    scores = {f"score_{name}": value for name, value in row.scores.items()}
    return {**found, "fate": row.fate, "duration": row.seconds, "weight": row.weight, **scores}


def _schema(pa: Any, row: Chosen | None) -> Any:
    """The columns, with the metadata of `datasets`; every row has the scores of the selection, or null."""
    scores = [] if row is None else [f"score_{name}" for name in row.scores]
    strings = {name: pa.string() for name in _TEXTS}
    numbers = {name: pa.float64() for name in (*_NUMBERS, *scores)}
    sound = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features: dict[str, Any] = {
        "audio": {"_type": "Audio"},
        **{name: {"dtype": "string", "_type": "Value"} for name in strings},
        **{name: {"dtype": "float64", "_type": "Value"} for name in numbers},
    }
    schema = pa.schema({"audio": sound, **strings, **numbers})
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _sound(utterance: Utterance, reader: UtteranceReader, inputs: AudioInputs, *, embed: bool) -> dict[str, Any]:
    whole = utterance.start is None and utterance.end is None and utterance.channel is None
    inside = split_address(utterance.audio)
    if not embed:
        if not whole or inside is not None:
            raise OptionError("a stretch, a channel or a member of a file has no path: embed the audio")
        return {"bytes": None, "path": _path(utterance.audio)}
    if whole and not is_url(utterance.audio):
        found = inputs.get(utterance)
        try:
            data = found if isinstance(found, bytes) else Path(found).read_bytes()
        except OSError as error:
            raise AudioError(f"{utterance.audio}: cannot be read: {error.strerror or error}") from error
        return {"bytes": data, "path": Path(utterance.audio if inside is None else inside[1]).name}
    return {"bytes": _flac(reader, utterance), "path": f"{_name(utterance.id)}.flac"}


def _path(audio: str) -> str:
    """The absolute path, since `datasets` resolves relative paths in the current folder."""
    return audio if "://" in audio else os.path.abspath(audio)  # noqa: PTH100  links stay


def _flac(reader: UtteranceReader, utterance: Utterance) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, reader.read(utterance).samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _name(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in name)
