"""JSON lines: Linnet's own manifests, NeMo's, and the rows of the Open ASR Leaderboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from linnet.data import fields
from linnet.data.fields import BadRow, Row
from linnet.data.manifest import Utterance, after, default_id, from_row
from linnet.data.sources.base import Found, Skip, SourceSpec
from linnet.data.sources.embedded import address
from linnet.data.sources.lines import read_rows


def read_linnet(spec: SourceSpec) -> Iterator[Found]:
    """Rows with the fields of `Utterance`."""
    path = Path(spec.path)

    def make(row: Row) -> Utterance | Skip:
        return Skip() if row.get("_skipme") else from_row(row, path.parent, spec.text or "text")

    return read_rows(path, make)


def read_nemo(spec: SourceSpec) -> Iterator[Found]:
    """NeMo's rows: `audio_filepath`, `offset`, `duration`, `text`, `lang`.

    Rows with `_skipme` are skipped. The audio of a row with a `shard_id` is in the archive `audio_SHARD.tar` beside the
    manifest, or in the folder above `sharded_manifests/`.
    """
    path = Path(spec.path)

    def make(row: Row) -> Utterance | Skip:
        if row.get("_skipme"):
            return Skip()
        audio, written = _audio(row, path.parent)
        offset, duration = fields.seconds(row, "offset"), fields.seconds(row, "duration")
        end = None if offset is None or duration is None else after(offset, offset + duration)
        return Utterance(
            audio=audio,
            text=fields.text(row, spec.text or "text"),
            duration=duration,
            language=fields.text(row, "lang", "language", "source_lang"),
            id=fields.label(row, "id", "utt_id") or default_id(written, offset),
            speaker=fields.label(row, "speaker", "speaker_id"),
            start=offset,
            end=end,
            channel=_channel(row),
            recording=fields.label(row, "recording_id", "parent_id"),
            session=fields.label(row, "session_id", "session"),
            snr=fields.number(row, "snr"),
            hypothesis=fields.text(row, "pred_text"),
            domain=fields.word(row, "domain"),
            source=fields.word(row, "source"),
        )

    return read_rows(path, make)


def read_leaderboard(spec: SourceSpec) -> Iterator[Found]:
    """The rows of an Open ASR Leaderboard result: `audio_filepath`, `duration`, `time`, `text`, `pred_text`.

    `parent_id` and `chunk_index` mark the pieces of a recording; their `text` is that of the whole recording.
    """
    path = Path(spec.path)

    def make(row: Row) -> Utterance | Skip:
        audio, written = _audio(row, path.parent)
        chunk = fields.integer(row, "chunk_index")
        parent = fields.label(row, "parent_id")
        return Utterance(
            audio=audio,
            text=fields.text(row, spec.text or "text"),
            duration=fields.seconds(row, "duration"),
            language=fields.text(row, "lang", "language"),
            id=default_id(written, None),
            recording=parent,
            hypothesis=fields.text(row, "pred_text"),
            seconds=fields.seconds(row, "time"),
            chunk=chunk,
        )

    return read_rows(path, make)


def _audio(row: Row, folder: Path) -> tuple[str, str]:
    """The audio of a NeMo row, as an address and as written."""
    written = row.get("audio_filepath")
    if not isinstance(written, str) or not written:
        raise BadRow(f"the key 'audio_filepath' must be one path, got {fields.shown(written)}")
    shard = fields.integer(row, "shard_id")
    if shard is None:
        return fields.resolve(written, folder), written
    tars = folder.parent if folder.name == "sharded_manifests" else folder
    return address(str(tars / f"audio_{shard}.tar"), written), written


def _channel(row: Row) -> int | None:
    value = row.get("channel_selector")
    if value is None or value == "average":
        return None
    return fields.integer(row, "channel_selector")
