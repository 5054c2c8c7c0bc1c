"""The corpus in shards of 512 rows, and a Parquet file for each of them in each pass.

A shard is a stretch of the manifest, independent of the number of workers, so that every pass writes the same files. A
file appears atomically and carries a key of its inputs: an existing file with the right key is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.curation.parquet import parquet, save_table
from linnet.data.manifest import Utterance, from_line, to_line
from linnet.data.sources.embedded import split_address
from linnet.errors import OptionError
from linnet.files import cannot_write, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 512  # per shard
MANIFEST = "rows.jsonl"

_KEY = b"linnet.key"
_TABLE = re.compile(r"[a-z]+-(\d{5,})\.parquet")


@dataclass(frozen=True)
class Shard:
    """Rows `first` to `first + rows` of the corpus: the position of their lines in `file`, and the hash of these lines.

    It holds no rows, so it is small enough to be sent to workers. Relative paths of recordings are relative to
    `folder`.
    """

    index: int
    first: int
    rows: int
    file: str
    offset: int
    size: int
    folder: str
    digest: str

    def utterances(self) -> list[Utterance]:
        """The rows of the shard."""
        with Path(self.file).open("rb") as file:
            file.seek(self.offset)
            lines = file.read(self.size).splitlines()
        return [from_line(line) for line in lines]

    def at_home(self, utterance: Utterance) -> Utterance:
        """The utterance with an absolute path of its recording, for workers in another folder."""
        return replace(utterance, audio=absolute(utterance.audio, self.folder))


@dataclass(frozen=True)
class Plan:
    """A corpus split into shards; its rows are in the folder `work`, where all passes write."""

    work: Path
    shards: tuple[Shard, ...]
    rows: int

    @property
    def digest(self) -> str:
        """Thirty-two hexadecimal digits of all rows in their order."""
        return key_of(*(shard.digest for shard in self.shards))

    def utterances(self) -> Iterator[Utterance]:
        """All rows in order, one shard of them in memory."""
        for shard in self.shards:
            yield from shard.utterances()

    def at_home(self, row: int) -> Utterance:
        """One row, with the path of its recording made absolute."""
        shard = next(one for one in self.shards if one.first <= row < one.first + one.rows)
        return shard.at_home(shard.utterances()[row - shard.first])


def make_plan(utterances: Iterable[Utterance], work: Path) -> Plan:
    """Write the rows of a corpus to `work` and split them into shards; tables of obsolete shards are removed.

    Shards with unchanged rows keep their tables. Raises `OutputError`, and `OptionError` for a corpus without rows.
    """
    shards: list[Shard] = []
    work, here = work.absolute(), str(Path.cwd())
    path = work / MANIFEST
    try:
        work.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            first = offset = 0
            for lines in _batches(utterances):
                block = b"".join(lines)
                file.write(block)
                digest = key_of(block)
                shards.append(Shard(len(shards), first, len(lines), str(path), offset, len(block), here, digest))
                first, offset = first + len(lines), offset + len(block)
            if not shards:
                raise OptionError(
                    "the corpus holds no utterances; give a manifest or another source with at least one row"
                )
    except OSError as error:
        if isinstance(error, OptionError):
            raise
        raise cannot_write(path, error) from error
    _remove_beyond(work, len(shards))
    return Plan(work, tuple(shards), first)


def _batches(utterances: Iterable[Utterance]) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    for utterance in utterances:
        lines.append(to_line(utterance).encode("utf-8", "backslashreplace") + b"\n")  # JSON reads \udcxx back
        if len(lines) == ROWS:
            yield lines
            lines = []
    if lines:
        yield lines


def _remove_beyond(work: Path, count: int) -> None:
    for path in work.glob("*.parquet"):
        found = _TABLE.fullmatch(path.name)
        if found and int(found[1]) >= count:
            path.unlink(missing_ok=True)


def absolute(audio: str, folder: str) -> str:
    """The absolute path of a recording, or of its archive; a URL is unchanged.

    >>> absolute("a.wav", "/data"), absolute("x.tar::b.wav", "/data"), absolute("https://a.org/b.wav", "/data")
    ('/data/a.wav', '/data/x.tar::b.wav', 'https://a.org/b.wav')
    """
    parts = split_address(audio)
    if "://" in (parts[0] if parts else audio):
        return audio
    return str(Path(folder) / audio)


# --- tables


def key_of(*parts: str | bytes) -> str:
    """Thirty-two hexadecimal digits of a hash of the parts, including their boundaries."""
    found = blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(f"{len(data)}:".encode())
        found.update(data)
    return found.hexdigest()


def table_path(work: Path, name: str, index: int) -> Path:
    """The path of a pass's table for a shard: `NAME-00000.parquet`."""
    return work / f"{name}-{index:05d}.parquet"


def write_table(path: Path, table: pa.Table, key: str) -> None:
    """Write a shard's table and the key of its inputs; equal tables yield equal bytes. Raises `OutputError`."""
    save_table(path, table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: key.encode()}))


def table_key(path: Path) -> str | None:
    """The key of an intact table; None if there is none."""
    try:
        metadata = parquet().read_schema(path).metadata or {}
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return None
    key = metadata.get(_KEY)
    return None if key is None else key.decode()


def read_tables(plan: Plan, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a pass's tables for all shards, in the order of the rows.

    Raises `OptionError` if a shard's table is missing or cannot be read.
    """
    reader = parquet()
    import pyarrow as pa

    tables = []
    for shard in plan.shards:
        path = table_path(plan.work, name, shard.index)
        try:
            tables.append(reader.read_table(path, columns=None if columns is None else list(columns)))
        except (OSError, ValueError) as error:
            raise OptionError(f"{path}: cannot be read ({error}); run the pass again to make it") from error
    return pa.concat_tables(tables).replace_schema_metadata(None)
