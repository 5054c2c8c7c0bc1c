"""All recordings for selection: the columns of the passes' Parquet shards, as arrays.

Shapes: N recordings, in the order of the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.parquet import parquet, read_table
from linnet.curation.ragged import Ragged
from linnet.errors import OptionError
from linnet.settings import did_you_mean

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]

FRAME = 0.02  # seconds
STRATA = ("language", "domain", "speaker", "source")
LABELS = (*STRATA, "session", "recording", "script", "backend")
NUMBERS = (
    "duration",
    "frames",
    "speech_frames",
    "level_db",
    "snr_db",
    "clipped",
    "bandwidth_hz",
    "leading_silence",
    "trailing_silence",
    "edge_level",
    "script_share",
)
_OF_SPOKEN = ("row", "words", "phones", "characters", "backend", "script", "script_share")
_OF_MEASURED = ("row", "id", "text", "error", "units", "sketch", "contour", "pcm_hash", *LABELS, *NUMBERS)
_WIDTH = 16  # bytes of an exact hash
_NOTHING = np.uint32(2**32 - 1)  # the minimum hash of an empty set


@dataclass(frozen=True, eq=False)
class Labels:
    """A name for each recording: `codes` int32 [N] into `names`, -1 for none.

    >>> Labels.of(["en", None, "de", "en"]).codes.tolist()
    [1, -1, 0, 1]
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[str | None] | NDArray[Any]) -> Labels:
        """From a name or None for each recording; the names are sorted."""
        known = {name for name in values if name is not None}
        places = {name: at for at, name in enumerate(sorted(known))}
        return cls(np.array([-1 if one is None else places[one] for one in values], np.int32), tuple(places))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str | None:
        code = self.codes[row]
        return None if code < 0 else self.names[code]

    def sums(self, amounts: NDArray[Any]) -> Numbers:
        """The sum of amounts [N] of each name."""
        named = self.codes >= 0
        weights = np.asarray(amounts, np.float64)[named]
        return np.bincount(self.codes[named], weights, minlength=len(self.names)).astype(np.float64)

    def joined(self, other: Labels) -> Labels:
        """The combination with another label, if this one exists: speaker 7 of one source is not speaker 7 of
        another."""
        width = len(other.names) + 1
        codes = np.where(self.codes < 0, -1, self.codes.astype(np.int64) * width + other.codes + 1)
        found, back = np.unique(codes, return_inverse=True)
        missing = int(len(found) > 0 and found[0] < 0)
        pairs = [(self.names[code // width], code % width - 1) for code in found[missing:].tolist()]
        names = tuple(name if at < 0 else f"{other.names[at]}/{name}" for name, at in pairs)
        return Labels((back - missing).astype(np.int32), names)


@dataclass(frozen=True, eq=False)
class Pool:
    """All recordings that may be chosen from.

    `ids`, `texts` and `errors` are object arrays [N] of str or None, `numbers` the measured ones by name, `scores` a
    column of float32 for each component. `hashes` uint8 [N, 16] are of the decoded sound, `hashed` says of which
    recordings there is one. `sketches` uint32 [N, H] are MinHash values, meaningless where `sketched` is false.
    `contours` are those of `linnet.curation.contour`, empty where they were not measured.
    """

    ids: NDArray[Any]
    texts: NDArray[Any]
    errors: NDArray[Any]
    labels: Mapping[str, Labels]
    numbers: Mapping[str, NDArray[Any]]
    units: Ragged
    words: Ragged
    phones: Ragged
    characters: NDArray[Any]
    hashes: NDArray[np.uint8]
    hashed: Flags
    sketches: NDArray[np.uint32]
    sketched: Flags
    contours: Ragged
    scores: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def seconds(self) -> Numbers:
        """The decoded length of each recording [N]; 0 if unknown or not a number."""
        seconds: Numbers = np.nan_to_num(np.maximum(self.numbers["duration"], 0.0), nan=0.0, posinf=0.0)
        return seconds

    @property
    def speech_seconds(self) -> Numbers:
        """Seconds with speech [N]."""
        seconds: Numbers = FRAME * np.asarray(self.numbers["speech_frames"], np.float64)
        return seconds

    @property
    def speakers(self) -> Labels:
        """The speakers, each within its source."""
        return self.labels["speaker"].joined(self.labels["source"])

    def strata(self, kind: str) -> Labels:
        """The labels of one of `STRATA`."""
        return self.speakers if kind == "speaker" else self.labels[kind]

    def part(self, first: int, last: int) -> Pool:
        """The recordings from `first` to before `last`; the arrays are views."""
        here = slice(first, last)
        return Pool(
            ids=self.ids[here],
            texts=self.texts[here],
            errors=self.errors[here],
            labels={name: Labels(one.codes[here], one.names) for name, one in self.labels.items()},
            numbers={name: one[here] for name, one in self.numbers.items()},
            units=_part(self.units, first, last),
            words=_part(self.words, first, last),
            phones=_part(self.phones, first, last),
            characters=self.characters[here],
            hashes=self.hashes[here],
            hashed=self.hashed[here],
            sketches=self.sketches[here],
            sketched=self.sketched[here],
            contours=_part(self.contours, first, last),
            scores={name: one[here] for name, one in self.scores.items()},
        )

    def score(self, name: str) -> NDArray[Any]:
        """A component's scores [N]. Raises `OptionError` for an unknown column."""
        if name not in self.scores:
            near = did_you_mean(name, self.scores)
            raise OptionError(f"no score column {name!r}{near}: there are {', '.join(sorted(self.scores)) or 'none'}")
        return self.scores[name]

    def row_of(self, name: str) -> int:
        """The index of an id. Raises `OptionError`."""
        found = np.flatnonzero(self.ids == name)
        if not len(found):
            raise OptionError(f"no recording has the id {name!r}{did_you_mean(name, map(str, self.ids[:100_000]))}")
        return int(found[0])


def _part(rows: Ragged, first: int, last: int) -> Ragged:
    offsets = rows.offsets[first : last + 1]
    return Ragged(rows.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def read_pool(folder: Path) -> Pool:
    """The pool of the shards `measured-*`, and `spoken-*` and `scores-*` if they exist, in a folder.

    Raises:
        OptionError: there are no shards, or some are missing. MissingExtra: pyarrow is not installed.
    """
    measured = _columns(folder, "measured", _OF_MEASURED)
    if not measured:
        raise OptionError(f"{folder}: no shards measured-*.parquet; run the audio pass first")
    spoken, scores = _columns(folder, "spoken", _OF_SPOKEN), _columns(folder, "scores")
    count = len(measured.pop("row"))
    for name, columns in (("spoken", spoken), ("scores", scores)):
        if columns and (rows := len(columns.pop("row"))) != count:
            raise OptionError(f"{folder}: {name}-*.parquet have {rows} rows, measured-*.parquet {count}")
    contours = _ragged(measured, "contour", count, np.uint32)  # the largest first: each column goes when it is read
    sketches, sketched = _sketches(_ragged(measured, "sketch", count, np.uint32))
    hashes, hashed = _hashes(measured, count)
    return Pool(
        ids=_objects(measured, "id", count),
        texts=_objects(measured, "text", count),
        errors=_objects(measured, "error", count),
        labels={name: _labels(spoken if name in _OF_SPOKEN else measured, name, count) for name in LABELS},
        numbers={name: _numbers(spoken if name in _OF_SPOKEN else measured, name, count) for name in NUMBERS},
        units=_ragged(measured, "units", count, np.uint16),
        words=_ragged(spoken, "words", count, np.uint32),
        phones=_ragged(spoken, "phones", count, np.uint16),
        characters=_numbers(spoken, "characters", count),
        hashes=hashes,
        hashed=hashed,
        sketches=sketches,
        sketched=sketched,
        contours=contours,
        scores={name: _numbers(scores, name, count) for name in list(scores)},
    )


Columns = dict[str, Any]  # of Arrow


def _columns(folder: Path, name: str, wanted: Sequence[str] | None = None) -> Columns:
    """The wanted columns [all] of the shards with a name, in the order of their rows; empty if there are none."""
    parquet()
    import pyarrow as pa

    files = sorted(folder.glob(f"{name}-*.parquet"))
    if not files:
        return {}
    try:
        table = pa.concat_tables([read_table(file, wanted) for file in files])
    except (pa.ArrowInvalid, OSError) as error:
        raise OptionError(f"{folder}: {name}-*.parquet cannot be read ({error}); remove them and run again") from error
    rows = table.column("row").to_numpy()
    if not np.array_equal(rows, np.arange(len(rows))):
        missing = np.setdiff1d(np.arange(len(rows)), rows)
        at = f"row {missing[0]} is missing" if len(missing) else "they are not in order"
        raise OptionError(f"{folder}: {name}-*.parquet do not hold each row once ({at}); run the pass to its end")
    return dict(zip(table.column_names, table.columns, strict=True))


def _objects(columns: Columns, name: str, count: int) -> NDArray[Any]:
    if name not in columns:
        return np.full(count, None, object)
    values = np.empty(count, object)
    values[:] = columns.pop(name).to_pylist()
    return values


def _labels(columns: Columns, name: str, count: int) -> Labels:
    if name not in columns:
        return Labels(np.full(count, -1, np.int32), ())
    column = columns.pop(name).combine_chunks().dictionary_encode()
    names = column.dictionary.to_pylist()
    order = sorted(range(len(names)), key=lambda at: str(names[at]))
    places = np.empty(len(names), np.int32)
    places[order] = np.arange(len(names), dtype=np.int32)
    found = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = np.where(found < 0, -1, places[np.maximum(found, 0)] if len(names) else -1)
    return Labels(codes.astype(np.int32), tuple(names[at] for at in order))


def _numbers(columns: Columns, name: str, count: int) -> NDArray[Any]:
    """The stored values; NaN for null."""
    return np.asarray(columns.pop(name).to_numpy()) if name in columns else np.full(count, np.nan)


def _ragged(columns: Columns, name: str, count: int, dtype: type) -> Ragged:
    if name not in columns:
        return Ragged.from_lengths(np.zeros(0, dtype), np.zeros(count, np.int64))
    return Ragged.from_arrow(columns.pop(name))


def _hashes(columns: Columns, count: int) -> tuple[NDArray[np.uint8], Flags]:
    if "pcm_hash" not in columns:
        return np.zeros((count, _WIDTH), np.uint8), np.zeros(count, np.bool_)
    column = columns.pop("pcm_hash").combine_chunks()
    known = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    joined = b"".join(column.fill_null(bytes(_WIDTH)).to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(count, _WIDTH), known


def _sketches(found: Ragged) -> tuple[NDArray[np.uint32], Flags]:
    """The sketches as a matrix; a recording too short for one has none."""
    lengths = found.lengths
    width = int(lengths.max()) if len(lengths) else 0
    whole = (lengths == width) & (width > 0)
    matrix = np.zeros((len(found), width), np.uint32)
    matrix[whole] = found.select(whole).values.reshape(-1, width) if width else 0
    return matrix, whole & (matrix != _NOTHING).any(axis=1)
