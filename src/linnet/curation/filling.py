"""Passes over the corpus: one table per shard, computed by workers, and only once."""

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
    """A pass: the `name` of its tables, and their `version` by options, code and models."""

    name: str
    version: str

    def key(self, shard: Shard) -> str:
        """The inputs of a shard's table."""
        return key_of(self.name, self.version, shard.digest)


def fill_tables(
    plan: Plan,
    which: Pass,
    function: Callable[[Shard, Given], pa.Table],
    given: Given,
    workers: WorkerOptions | None = None,
    progress: Progress | None = None,
) -> int:
    """Write missing or outdated tables `NAME-00000.parquet` and so on; returns the number of existing ones.

    `function`, at the top level of a module, makes the table of a shard from `given`, which is sent to the workers with
    every shard: small values, or the path of a file. A killed run resumes.

    Raises:
        OutputError: a table cannot be written.
        MissingExtra: pyarrow or Ray is not installed.
        Any error of the function.
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
