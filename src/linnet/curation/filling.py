"""A pass over the corpus: a table for each shard, made wherever the workers are, and not made twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from linnet.curation.parquet import parquet
from linnet.curation.shards import Plan, Shard, key_of, table_key, table_path, write_table
from linnet.curation.workers import WorkerOptions, map_items

if TYPE_CHECKING:
    import pyarrow as pa

Given = TypeVar("Given")

Progress = Callable[[int, int], None]
"""Takes how many parts of a pass are done, and of how many."""


@dataclass(frozen=True)
class Pass:
    """A pass by the `name` of its tables, and the `version` of how they are made: its options, code, and models."""

    name: str
    version: str

    def key(self, shard: Shard) -> str:
        """What the table of a shard is made of."""
        return key_of(self.name, self.version, shard.digest)


def fill_tables(
    plan: Plan,
    which: Pass,
    function: Callable[[Shard, Given], pa.Table],
    given: Given,
    workers: WorkerOptions | None = None,
    progress: Progress | None = None,
) -> int:
    """Write `NAME-00000.parquet` and so on where they are missing or of another version; how many were there already.

    `function` is one of a module; it makes the table of a shard with what is `given`, which is sent to the workers with
    every shard: small, or the path of a file. A run that was killed goes on from there.

    Raises:
        OutputError: a table cannot be written. MissingExtra: pyarrow or Ray is not installed.
        What the function raises.
    """
    parquet()
    jobs = [
        _Job(function, shard, given, str(table_path(plan.work, which.name, shard.index)), which.key(shard))
        for shard in plan.shards
    ]
    missing = [job for job in jobs if table_key(Path(job.output)) != job.key]
    kept = len(jobs) - len(missing)
    for done, _ in enumerate(map_items(_do, missing, workers), start=kept + 1):
        if progress is not None:
            progress(done, len(jobs))
    return kept


@dataclass(frozen=True)
class _Job:
    function: Callable[[Shard, Any], pa.Table]
    shard: Shard
    given: Any
    output: str
    key: str


def _do(job: _Job) -> int:
    write_table(Path(job.output), job.function(job.shard, job.given), job.key)
    return job.shard.index
