"""Lhotse cuts, one JSON object per line, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linnet.data import fields
from linnet.data.fields import BadRow, Row, shown
from linnet.data.manifest import Utterance
from linnet.data.sources.base import Found, SourceSpec
from linnet.data.sources.lines import read_rows

_HARMLESS = frozenset({"Resample"})  # transforms that keep words and their times
_SAME = 1e-3  # seconds


def read_lhotse(spec: SourceSpec) -> Iterator[Found]:
    """Each cut of one recording is an utterance; its text joins those of its supervisions in time order.

    The recording must be a file or a URL; relative paths are relative to the folder of the cuts. Padding, mixes and
    lazy transforms (speed, volume) are problems. Speaker and language are used if all supervisions agree. `custom` may
    hold `snr`, `session`, `domain` and `source`.
    """
    path = Path(spec.path)
    return read_rows(path, lambda row: _cut(row, path.parent, spec.text or "text"))


def _cut(row: Row, folder: Path, key: str) -> Utterance:
    kind = fields.text(row, "type") or "MonoCut"
    if kind not in ("MonoCut", "MultiCut"):
        raise BadRow(f"a {kind}: only cuts of one recording (MonoCut, MultiCut) can be read; save it as audio first")
    recording = _object(row, "recording")
    supervisions = row.get("supervisions") or []
    if not isinstance(supervisions, list) or not all(isinstance(one, dict) for one in supervisions):
        raise BadRow("the key 'supervisions' must be a list of objects")
    supervisions = sorted(supervisions, key=lambda one: fields.number(one, "start") or 0.0)
    texts = [text for one in supervisions if (text := fields.text(one, key)) is not None]
    start, duration = fields.seconds(row, "start") or 0.0, fields.seconds(row, "duration")
    whole = fields.seconds(recording, "duration")
    part = start > 0 or duration is None or whole is None or abs(duration - whole) > _SAME
    audio, channel = _file(recording, row.get("channel"))
    custom = row.get("custom") if isinstance(row.get("custom"), dict) else {}
    return Utterance(
        audio=fields.resolve(audio, folder),
        text=" ".join(texts) if texts else None,
        duration=duration,
        language=_common([fields.text(one, "language") for one in supervisions]),
        id=fields.label(row, "id") or "",
        speaker=_common([fields.label(one, "speaker") for one in supervisions]),
        start=start if part else None,
        end=start + duration if part and duration else None,
        channel=channel,
        recording=fields.label(recording, "id"),
        session=fields.label(custom or {}, "session"),
        snr=fields.number(custom or {}, "snr"),
        domain=fields.word(custom or {}, "domain"),
        source=fields.word(custom or {}, "source"),
    )


def _file(recording: Row, channel: Any) -> tuple[str, int | None]:
    """The file that holds the channel, and the channel's index in it."""
    changes = recording.get("transforms") or []
    for change in changes if isinstance(changes, list) else [changes]:
        name = change.get("name") if isinstance(change, dict) else None
        if not isinstance(name, str) or name not in _HARMLESS:
            what = name if isinstance(name, str) else shown(change)
            raise BadRow(f"its recording has the transform {what}; save it as audio first")
    sources = recording.get("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(one, dict) for one in sources):
        raise BadRow("the key 'recording' has no list of 'sources'")
    wanted = channel if isinstance(channel, int) and not isinstance(channel, bool) else None
    for source in sources:
        inside = source.get("channels") or [0]
        if not isinstance(inside, list):
            raise BadRow(f"the channels of its recording must be a list, got {shown(inside)}")
        if len(sources) > 1 and wanted not in inside:
            continue
        if source.get("type") not in ("file", "url") or not isinstance(source.get("source"), str):
            raise BadRow(f"its audio is of the type {shown(source.get('type'))}; only 'file' and 'url' can be read")
        if wanted is not None and wanted not in inside:
            raise BadRow(f"channel {wanted} is not among those of its recording, {shown(inside)}")
        return source["source"], inside.index(wanted) if wanted is not None and len(inside) > 1 else None
    raise BadRow(
        f"its audio is in {len(sources)} files, none of which has channel {shown(channel)}; choose one channel"
    )


def _object(row: Row, key: str) -> Row:
    value = row.get(key)
    if not isinstance(value, dict):
        raise BadRow(f"the key {key!r} must be an object, got {shown(value)}; save the cuts with their recordings")
    return value


def _common(values: list[str | None]) -> str | None:
    """The common value of all, or None."""
    return values[0] if values and all(value == values[0] for value in values) else None
