"""PyArrow, which the extra `curate` brings: imported late, in one place, and tables written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linnet.errors import MissingExtra
from linnet.files import cannot_write, whole_file


def parquet() -> Any:
    """The module `pyarrow.parquet`; `pyarrow` can be imported after it. Raises `MissingExtra`."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("curation", extra="curate") from error
    return pyarrow.parquet


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Those of the columns that a file has [all columns], in its order.

    On this thread alone, and without looking for a data set of many files: for small files this is several times as
    fast. Raises as PyArrow does.
    """
    with parquet().ParquetFile(path) as file:
        return file.read(columns=None if columns is None else list(columns), use_threads=False)


def save_table(path: Path, table: Any) -> None:
    """Write a table with its metadata; equal tables give equal bytes. Raises `OutputError`."""
    written = parquet()
    try:
        with whole_file(path) as file:
            written.write_table(table, file, compression="zstd")
    except OSError as error:
        raise cannot_write(path, error) from error
