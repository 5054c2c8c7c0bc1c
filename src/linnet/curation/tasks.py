"""Tasks over the shards of a corpus for scoring: align, count, estimate. Input are files, results are small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.aligning import FOLDS, Emissions, align, folds_of
from linnet.curation.blocks import Block, ShardFiles, Space
from linnet.curation.components import Corpus, EstimatorOptions, Statistics
from linnet.curation.counting import Counts, Integers, Tally, pack
from linnet.curation.errors import ErrorRates
from linnet.curation.information import Segments
from linnet.curation.ragged import Ragged
from linnet.files import whole_file


@dataclass(frozen=True, eq=False)
class Task:
    """Some shards, their remaining rows (None: all), and the files shared by all tasks.

    `drafts` is the folder for alignments, written when counting and read when estimating.
    """

    shards: Sequence[ShardFiles]
    space: Space
    options: EstimatorOptions
    kept: Sequence[NDArray[np.bool_]] | None = None
    emissions: Path | None = None
    statistics: Path | None = None
    drafts: Path | None = None
    errors: ErrorRates | None = None

    def blocks(self) -> Iterator[Block]:
        """The remaining rows of each shard, aligned if emissions are known."""
        for at, shard in enumerate(self.shards):
            block = Block.read(shard, self.space)
            block = block if self.kept is None else block.select(self.kept[at])
            aligned = None if self.emissions is None else self._aligned(block, shard, self.emissions)
            yield replace(block, aligned=aligned)

    def _aligned(self, block: Block, shard: ShardFiles, emissions: Path) -> Segments:
        draft = None if self.drafts is None else self.drafts / f"{shard.measured.stem}.npz"
        if draft is not None and draft.exists():
            with np.load(draft) as arrays:
                offsets = arrays["offsets"]
                units, tokens = (Ragged(arrays[name], offsets) for name in ("units", "tokens"))
                frames, places, expected = (arrays[one].astype(np.int64) for one in ("frames", "places", "expected"))
                return Segments(units, tokens, frames, places, expected)
        none = np.zeros(len(block), np.int64)
        sounds = read_emissions(emissions)
        found = align(block.units, block.runs, block.tokens, none, folds_of(block.rows), sounds)
        if draft is not None:
            numbers = {"units": found.units.values, "tokens": found.tokens.values, "frames": found.frames}
            numbers |= {"places": found.places, "expected": found.expected}
            shorter = {
                name: values.astype(np.uint16) for name, values in numbers.items() if values.max(initial=0) < 2**16
            }
            with whole_file(draft) as file:
                np.savez(file, offsets=found.units.offsets, **(numbers | shorter))
        return found


def count_folds(task: Task) -> list[Counts]:
    """The frames of each unit with each token in each fold of a task's rows, for all voices together."""
    tallies = [Tally() for _ in range(FOLDS)]
    for block in task.blocks():
        segments = block.segments("phones")
        folds: Integers = folds_of(block.rows)[segments.units.rows]
        for fold, tally in enumerate(tallies):
            mine = folds == fold
            tally.add(
                pack((segments.units.values[mine], 16), (segments.tokens.values[mine], 16)), segments.frames[mine]
            )
    return [tally.counts for tally in tallies]


def count(task: Task) -> Statistics:
    """The statistics of a task's rows."""
    found = Statistics()
    for block in task.blocks():
        found.add(block, task.options)
    return found


def estimate(task: Task) -> list[dict[str, NDArray[Any]]]:
    """The raw components of each shard of a task, with `row`, `seconds` and the groups."""
    if task.statistics is None:
        raise ValueError("a task for estimating needs the statistics of all shards")
    corpus = _corpus(task.statistics, task.space.sizes)
    return [_columns(corpus, block, task) for block in task.blocks()]


def _columns(corpus: Corpus, block: Block, task: Task) -> dict[str, NDArray[Any]]:
    groups = {"row": block.rows, "seconds": block.seconds, "language": block.languages, "voice": block.voices}
    errors = {} if task.errors is None else {"error_relevance": task.errors.relevance(block, task.space)}
    return groups | corpus.estimate(block, task.options) | errors


# --- shared files, named by their content, read once per process


@lru_cache(maxsize=1)
def _corpus(path: Path, sizes: tuple[int, int, int]) -> Corpus:
    return Corpus.of(Statistics.load(path), sizes)


@lru_cache(maxsize=1)
def read_emissions(path: Path) -> Emissions:
    """Load the output of `Emissions.save`."""
    return Emissions.load(path)
