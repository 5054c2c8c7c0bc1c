"""Hugging Face data sets as Parquet and Arrow files whose rows hold a recording or its path."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.data import fields
from linnet.data.fields import BadRow, Row
from linnet.data.manifest import Utterance
from linnet.data.sources.base import Found, Problem, SourceSpec
from linnet.data.sources.embedded import address
from linnet.errors import MissingExtra, OptionError

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("text", "raw_transcription", "sentence", "normalized_text", "transcript", "transcription")
DURATIONS = ("duration", "audio_length_s")
_PART = re.compile(r"(.+?)-\d{5}(-of-\d{5})?(-[0-9a-f]+)?")
_ROWS = 1024  # per batch


def read_tables(spec: SourceSpec) -> Iterator[Found]:
    """The rows of a Parquet or Arrow file, or of all those in a folder (of one split), sorted by name.

    The audio is in the column `audio`, or the only one that holds audio: Hugging Face's {bytes, path}, bytes, or a path
    relative to the file. The text is in the first of `TEXTS`. The audio itself is read later, by `AudioInputs`.

    Raises:
        OptionError: no such file, not a table, or no audio column.
        MissingExtra: pyarrow is not installed.
    """
    files = find_tables(Path(spec.path), spec.split)
    return (found for file in files for found in _read(file, spec, several=len(files) > 1))


def find_tables(path: Path, split: str | None = None) -> list[Path]:
    """The table files of a path, sorted; those of a split are named `SPLIT-*` or are in a folder `SPLIT`.

    Raises:
        OptionError: there are none, or there are several splits and none was chosen.
    """
    if path.is_file():
        return [path]
    files = sorted(file for suffix in ("parquet", "arrow") for file in path.rglob(f"*.{suffix}"))
    if not files:
        raise OptionError(f"{path}: expected .parquet or .arrow files, found none")
    splits = sorted({_split(file, path) for file in files})
    if split is None and len(splits) > 1:
        raise OptionError(f"{path}: holds the splits {', '.join(splits)}; choose one, or name its folder or file")
    if split is not None and split not in splits:
        raise OptionError(f"{path}: has no split {split!r}; it has {', '.join(splits)}")
    return files if split is None else [file for file in files if _split(file, path) == split]


def _split(file: Path, folder: Path) -> str:
    """`test` of `test-00000-of-00002.parquet`, `test/data-00000-of-00002.arrow` and `test/0.parquet`."""
    part = _PART.fullmatch(file.stem)
    named = part[1] if part else ""
    return named if named not in ("", "data", "part") else file.parent.name if file.parent != folder else named


def open_table(file: str) -> ParquetTable | ArrowTable:
    """A table with random access to its rows. Raises `OSError`, `OptionError` and `MissingExtra`."""
    return ParquetTable(file) if file.endswith(".parquet") else ArrowTable(file)


def _read(file: Path, spec: SourceSpec, *, several: bool) -> Iterator[Found]:
    try:
        table = open_table(str(file))
    except OSError as error:
        raise OptionError(f"{file}: cannot be read: {error.strerror or error}") from error
    try:
        columns = _Columns(table, file, spec)
        number = 0
        for batch in table.batches(columns.wanted()):
            for row in batch.to_pylist():
                try:
                    yield columns.utterance(row, number)
                except BadRow as error:
                    yield Problem(f"{file.name}, row {number + 1}" if several else f"row {number + 1}", str(error))
                number += 1
    finally:
        table.close()


class _Columns:
    """The roles of a table's columns."""

    def __init__(self, table: ParquetTable | ArrowTable, file: Path, spec: SourceSpec) -> None:
        self._file = file
        self._schema = schema = table.schema
        names = schema.names
        self.audio = spec.audio or _audio_column(schema, file)
        for column in (self.audio, spec.text):
            if column is not None and column not in names:
                raise OptionError(f"{file}: has no column {column!r}; its columns are {', '.join(names)}")
        self._text = spec.text or next((name for name in TEXTS if name in names), None)
        kind = schema.field(self.audio).type
        self._inside = [kind.field(at).name for at in range(kind.num_fields)]
        if not self._inside:
            self._is_path = not _is_bytes(kind)
        else:  # a local data set may hold only paths
            self._is_path = "bytes" not in self._inside or not table.has_bytes(self.audio)

    def wanted(self) -> list[str]:
        """All columns except the audio bytes."""
        others = [
            field.name
            for field in self._schema
            if field.name != self.audio and not _is_bytes(field.type) and not field.type.num_fields
        ]
        if self._is_path and not self._inside:
            return [*others, self.audio]
        return [*others, f"{self.audio}.path"] if "path" in self._inside else others

    def utterance(self, row: Row, number: int) -> Utterance:
        """The utterance of a row, `number` counted from 0."""
        path = row.get(self.audio)
        if isinstance(path, dict):
            path = path.get("path")
        audio = address(str(self._file), f"{self.audio}/{number}")
        if self._is_path:
            if not isinstance(path, str) or not path:
                raise BadRow(f"the column {self.audio!r} must hold a path, got {fields.shown(path)}")
            audio = fields.resolve(path, self._file.parent)
        name = fields.label(row, "id", "file_name", "segment_id") or (path if isinstance(path, str) else None)
        return Utterance(
            audio=audio,
            text=fields.text(row, self._text) if self._text else None,
            duration=next((value for key in DURATIONS if (value := fields.seconds(row, key)) is not None), None),
            language=_word(row, "language") or _word(row, "lang") or _word(row, "locale"),
            id=name or audio,
            speaker=fields.label(row, "speaker_id", "speaker", "client_id"),
            recording=fields.label(row, "recording_id", "parent_id"),
            session=fields.label(row, "session_id", "session"),
            snr=fields.number(row, "snr"),
            chunk=fields.integer(row, "chunk_index"),
            domain=fields.word(row, "domain"),
            source=fields.word(row, "source"),
        )


def _word(row: Row, key: str) -> str | None:
    """A non-empty string, or None for values of other types."""
    value = row.get(key)
    return value if isinstance(value, str) and value else None


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _audio_column(schema: pa.Schema, file: Path) -> str:
    """The column that holds the audio."""
    if "audio" in schema.names:
        return "audio"
    holding = [
        field.name
        for field in schema
        if _is_bytes(field.type) or any(_is_bytes(field.type.field(at).type) for at in range(field.type.num_fields))
    ]
    if len(holding) != 1:
        raise OptionError(
            f"{file}: expected the column 'audio', or one with audio; found {', '.join(schema.names)}: name the column"
        )
    return str(holding[0])


def _require() -> None:
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        raise MissingExtra("reading Parquet and Arrow tables", extra="datasets") from error


def _cell(column: Any, at: int, inside: str) -> bytes:
    """The bytes of one cell: a struct's field `bytes`, or the cell itself."""
    value = column[at].as_py()
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise KeyError(inside)
    return value


def _place(inside: str) -> tuple[str, int]:
    column, _, row = inside.rpartition("/")
    if not row.isdigit():
        raise KeyError(inside)
    return column, int(row)


class ParquetTable:
    """A Parquet file; one row group of one column is held at a time."""

    def __init__(self, file: str) -> None:
        _require()
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise OptionError(f"{file}: is not a Parquet file, or is truncated ({error}); copy it again") from error
        self.schema: pa.Schema = self._file.schema_arrow
        counts = [self._file.metadata.row_group(at).num_rows for at in range(self._file.num_row_groups)]
        self._starts = [0, *accumulate(counts)]
        self._held: tuple[tuple[str, int], Any] | None = None

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows of some columns."""
        return self._file.iter_batches(_ROWS, columns=columns)  # type: ignore[no-any-return]

    def has_bytes(self, column: str) -> bool:
        """Whether any row holds audio bytes, by the file's statistics."""
        metadata = self._file.metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group)
            for at in range(rows.num_columns):
                chunk = rows.column(at)
                if chunk.path_in_schema == f"{column}.bytes":
                    statistics = chunk.statistics
                    if statistics is None or statistics.null_count != rows.num_rows:
                        return True
        return False

    def read(self, inside: str) -> bytes:
        """The bytes of the cell `COLUMN/ROW`."""
        column, row = _place(inside)
        group = bisect_right(self._starts, row) - 1
        if group >= self._file.num_row_groups or column not in self.schema.names:
            raise KeyError(inside)
        if self._held is None or self._held[0] != (column, group):
            self._held = None
            self._held = (column, group), self._file.read_row_group(group, columns=[column]).column(0)
        return _cell(self._held[1], row - self._starts[group], inside)

    def close(self) -> None:
        """Close the file."""
        self._held = None
        self._file.close()


class ArrowTable:
    """An Arrow file as `datasets` writes it, memory-mapped."""

    def __init__(self, file: str) -> None:
        _require()
        import pyarrow as pa

        self._map = pa.memory_map(file)
        try:
            if self._map.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(self._map)
                self._batches = [reader.get_batch(at) for at in range(reader.num_record_batches)]
            else:
                self._map.seek(0)
                reader = pa.ipc.open_stream(self._map)
                self._batches = list(reader)  # views of the map: nothing is copied
        except pa.ArrowInvalid as error:
            raise OptionError(f"{file}: is not an Arrow file, or is truncated ({error}); copy it again") from error
        self.schema: pa.Schema = reader.schema
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)]

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows of some columns; `COLUMN.FIELD` is one field of a struct."""
        import pyarrow as pa

        for batch in self._batches:
            made = {}
            for name in columns:
                column, _, field = name.partition(".") if name not in self.schema.names else (name, "", "")
                values = batch.column(column)
                made[column] = pa.StructArray.from_arrays([values.field(field)], [field]) if field else values
            whole = pa.RecordBatch.from_pydict(made) if made else batch.select([])
            for start in range(0, batch.num_rows, _ROWS):
                yield whole.slice(start, _ROWS)

    def has_bytes(self, column: str) -> bool:
        """Whether any row holds audio bytes."""
        return any(batch.column(column).field("bytes").null_count < batch.num_rows for batch in self._batches)

    def read(self, inside: str) -> bytes:
        """The bytes of the cell `COLUMN/ROW`."""
        column, row = _place(inside)
        at = bisect_right(self._starts, row) - 1
        if at >= len(self._batches) or column not in self.schema.names:
            raise KeyError(inside)
        return _cell(self._batches[at].column(column), row - self._starts[at], inside)

    def close(self) -> None:
        """Close the file."""
        self._batches = []
        self._map.close()
