"""One recording to one row of numbers, and a shard of them to a Parquet file: sound is decoded here and nowhere else.

Shapes: N samples at 16 kHz, T frames, n frames with speech, R runs of units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.curation.codebook import Codebook, RecordingFrames
from linnet.curation.contour import contour
from linnet.curation.mfcc import Flags, Floats, Spectrum, analyze, cepstra, find_speech, smooth
from linnet.curation.parquet import parquet
from linnet.curation.shards import Shard
from linnet.curation.signal import Signal, inspect
from linnet.curation.sketch import sketch
from linnet.data.duplicates.prints import exact_hash
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError, LinnetError
from linnet.text.language_codes import canonical
from linnet.urls import public_name

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN_LANGUAGE = "und"
VERSION = "2"  # of what is measured: tables of another one are made again

_TEXTS = ("id", "audio", "text", "language", "speaker", "domain", "source", "session", "recording")


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is known of one recording: see `table_schema` for the columns that it becomes."""

    duration: float
    frames: int
    speech_frames: int
    units: NDArray[np.uint16]
    runs: NDArray[np.uint16]
    signal: Signal
    pcm_hash: bytes
    sketch: NDArray[np.uint32]
    contour: NDArray[np.uint32]


def measure(samples: Samples, codebook: Codebook) -> Measurement:
    """All that the passes ask of samples [N]: units, signal, hash, sketch and contour, from one spectrum."""
    spectrum, speech, features = _features(samples, codebook.coefficients)
    units, runs = codebook.encode(features)
    return Measurement(
        duration=len(samples) / SAMPLE_RATE,
        frames=len(speech),
        speech_frames=int(speech.sum()),
        units=units,
        runs=runs,
        signal=inspect(samples, spectrum, speech),
        pcm_hash=exact_hash(samples),
        sketch=sketch(units),
        contour=contour(spectrum.bands, speech),
    )


def _features(samples: Samples, coefficients: int) -> tuple[Spectrum, Flags, Floats]:
    """The spectrum, which frames hold speech [T], and these frames' smoothed MFCC [n, C]."""
    spectrum = analyze(samples)
    speech = find_speech(spectrum)
    return spectrum, speech, smooth(cepstra(spectrum.bands, coefficients))[speech]


# --- what workers do


@dataclass(frozen=True)
class SampleTask:
    """Recordings that a codebook is to be learned of, and how many frames of each, at most."""

    utterances: tuple[Utterance, ...]
    coefficients: int
    frames: int


def sample_frames(task: SampleTask) -> list[RecordingFrames]:
    """What each recording of a task gives to learn from; nothing of those that cannot be read."""
    found: list[RecordingFrames] = []
    for _, heard in hear_all(task.utterances):
        if not isinstance(heard, str):
            found.append(RecordingFrames.of(_features(heard, task.coefficients)[2], task.frames))
    return found


def measured_table(shard: Shard, codebook: str) -> pa.Table:
    """The rows of a shard, each recording decoded once and measured with a codebook (the path of its file)."""
    units = _codebook(codebook)
    rows = shard.utterances()
    found: list[Measurement | str] = [""] * len(rows)
    for place, heard in hear_all([shard.at_home(row) for row in rows]):
        found[place] = heard if isinstance(heard, str) else measure(heard, units)
    return to_table(rows, found, shard.first)


def hear_all(utterances: Sequence[Utterance]) -> Iterator[tuple[int, Samples | str]]:
    """The samples of utterances with their places, or why they cannot be had; stretches of one recording in turn.

    Recordings come in the order in which they are first named, each one's stretches by their start, so that it is
    decoded once.
    """
    first: dict[tuple[str, int | None], int] = {}
    for place, one in enumerate(utterances):
        first.setdefault((one.audio, one.channel), place)
    order = sorted(
        range(len(utterances)),
        key=lambda at: (first[utterances[at].audio, utterances[at].channel], utterances[at].start or 0.0),
    )
    with UtteranceReader() as reader:
        for place in order:
            try:
                yield place, reader.read(utterances[place]).samples
            except LinnetError as error:
                yield place, str(error)
            except MemoryError:
                name = public_name(utterances[place].audio)
                yield place, str(AudioError(f"{name}: is too long for this machine's memory; cut it into utterances"))


@lru_cache(maxsize=2)
def _codebook(path: str) -> Codebook:
    return Codebook.load(Path(path))[0]


# --- tables


def table_schema() -> pa.Schema:
    """The columns of `measured-*.parquet`. Raises `MissingExtra`.

    `row` is the place in the manifest. Where `error` says why a recording cannot be read, its numbers are null, its
    counts 0 and its lists empty. `frames` are 20 ms; `units` are those of the frames with speech, with the frames of
    each in `runs`; the numbers of `Signal` follow, null where there is no speech; `pcm_hash` is that of the samples,
    `sketch` that of the units, `contour` the levels of all frames.
    """
    parquet()
    import pyarrow as pa

    signal = [(field.name, pa.float32()) for field in fields(Signal)]
    return pa.schema(
        [
            ("row", pa.int64()),
            *((name, pa.string()) for name in ("id", "audio")),
            *((name, pa.float64()) for name in ("start", "end")),
            ("channel", pa.int32()),
            *((name, pa.string()) for name in (*_TEXTS[2:], "error")),
            ("duration", pa.float64()),
            *((name, pa.int32()) for name in ("frames", "speech_frames")),
            *((name, pa.list_(pa.uint16())) for name in ("units", "runs")),
            *signal,
            ("pcm_hash", pa.binary(16)),
            ("sketch", pa.list_(pa.uint32())),
            ("contour", pa.list_(pa.uint32())),
        ]
    )


def to_table(rows: Sequence[Utterance], found: Sequence[Measurement | str], first: int) -> pa.Table:
    """The table of rows and what was measured of each, or why nothing was; `first` is the place of the first row."""
    import pyarrow as pa

    schema = table_schema()
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for place, (row, one) in enumerate(zip(rows, found, strict=True)):
        values = _told(row) | (_failed(one) if isinstance(one, str) else _measured(one))
        for name in schema.names:
            columns[name].append(first + place if name == "row" else values[name])
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _told(row: Utterance) -> dict[str, Any]:
    """What the manifest says."""
    values = {name: _clean(getattr(row, name)) for name in _TEXTS}
    values["language"] = language_of(row.language)
    return {**values, "start": row.start, "end": row.end, "channel": row.channel}


def _failed(error: str) -> dict[str, Any]:
    numbers: dict[str, Any] = {field.name: None for field in fields(Signal)}
    nothing = {"duration": 0.0, "frames": 0, "speech_frames": 0, "units": [], "runs": [], "sketch": [], "contour": []}
    return {**numbers, **nothing, "pcm_hash": None, "error": _clean(error)}


def _measured(one: Measurement) -> dict[str, Any]:
    signal = {field.name: getattr(one.signal, field.name) for field in fields(Signal)}
    values = {field.name: getattr(one, field.name) for field in fields(Measurement) if field.name != "signal"}
    return {**values, **{name: None if value != value else value for name, value in signal.items()}, "error": None}


def _clean(text: str | None) -> str | None:
    """Text that UTF-8 can hold: half characters, which JSON can, become question marks."""
    return None if text is None else text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=4096)
def language_of(code: str | None) -> str:
    """The canonical BCP-47 code of a manifest's language; `und` where it names none.

    >>> language_of("deu"), language_of("klingonese"), language_of(None)
    ('de', 'und', 'und')
    """
    if not code:
        return UNKNOWN_LANGUAGE
    try:
        return canonical(code)
    except LinnetError:
        return UNKNOWN_LANGUAGE
