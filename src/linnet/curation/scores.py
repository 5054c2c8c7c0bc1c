"""From shards to a table of scores: count, estimate, compare. Only Parquet files of earlier passes are read.

    survey -> align (some rounds over a sample) -> count -> estimate -> residuals -> ranks

The three in the middle are maps over shards (`linnet.curation.tasks`) that can run anywhere in any order: tasks are
small and refer to files; shared data is in the work folder.

Shapes: N rows in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.aligning import FOLDS, ROUNDS, Emissions
from linnet.curation.blocks import ShardFiles, Space, find_shards
from linnet.curation.components import BY_VOICE, COMPONENTS, EstimatorOptions, Statistics
from linnet.curation.counting import Counts, Integers
from linnet.curation.errors import ErrorRates
from linnet.curation.moments import Histogram, Moments
from linnet.curation.parquet import parquet, save_table
from linnet.curation.symbols import read_inventory
from linnet.curation.tasks import Task, count, count_folds, estimate
from linnet.errors import OptionError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Mapper = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]  # `map`, or over processes; keeps order

_SHARDS_PER_TASK: Final = 16
_SAMPLED_SHARDS: Final = 40  # 20,000 recordings are enough to learn the sounds of phones


# --- comparing


@dataclass(frozen=True, eq=False)
class Scale:
    """The reference for raw components: fitted on a data set, and kept over the rounds of HEEP."""

    groups: Mapping[str, int]  # the numbers of "language" and "voice"
    moments: Mapping[str, Moments] = field(default_factory=dict)
    histograms: Mapping[str, Histogram] = field(default_factory=dict)

    @classmethod
    def fit(cls, raw: Mapping[str, NDArray[Any]], space: Space) -> Self:
        """On the columns of all rows."""
        groups = {"language": len(space.languages), "voice": len(space.voices)}
        found, histograms = cls(groups), {}
        moments = {
            name: Moments.robust(raw[name], raw[_by(name)], raw["seconds"], groups[_by(name)]) for name in COMPONENTS
        }
        found = replace(found, moments=moments)
        for name in COMPONENTS:
            residuals = found.residuals(name, raw)
            histograms[name] = Histogram.of(residuals, raw[_by(name)], raw["seconds"], groups[_by(name)])
        return replace(found, histograms=histograms)

    def residuals(self, name: str, raw: Mapping[str, NDArray[Any]]) -> Floats:
        """The deviation of each row's component from its group and length, [N]."""
        return self.moments[name].residuals(raw[name], raw[_by(name)], raw["seconds"])

    def ranks(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Each component as a rank from 0 to 1 among the hours of its group, [N]; NaN if unknown."""
        return {name: self.histograms[name].ranks(self.residuals(name, raw), raw[_by(name)]) for name in COMPONENTS}


def _by(name: str) -> str:
    return "voice" if name in BY_VOICE else "language"


def rank_of_all(values: Floats, seconds: Floats) -> Floats:
    """Values as ranks from 0 to 1 among the hours of all groups together, [N]."""
    everyone = np.zeros(len(values), np.int64)
    return Histogram.of(values, everyone, seconds, 1).ranks(values, everyone)


def spread_evenly(raw: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Each component scaled between the minimum and maximum of all rows, [N], as in HEEP, although outliers affect all
    values."""
    ranks = {}
    for name in COMPONENTS:
        known = raw[name][np.isfinite(raw[name])]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
        ranks[name] = (raw[name] - low) / (high - low) if high > low else np.where(np.isfinite(raw[name]), 0.0, np.nan)
    return ranks


# --- the pass


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of all rows: `raw` in bits with rows and groups, `ranks` from 0 to 1, each [N]."""

    raw: Mapping[str, NDArray[Any]]
    ranks: Mapping[str, Floats]
    scale: Scale | None

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of `scores-*.parquet`: `row`, and float32 `NAME` and `NAME_raw` for each component."""
        found: dict[str, NDArray[Any]] = {"row": np.asarray(self.raw["row"], np.int64)}
        for name, ranks in self.ranks.items():
            found[name] = ranks.astype(np.float32)
            if name in self.raw:
                found[f"{name}_raw"] = self.raw[name].astype(np.float32)
        return found


@dataclass(frozen=True, eq=False)
class Scoring:
    """Computes the scores of the shards in a folder, for all rows or those of a round.

    `mapper` is `map`, or applies a function to tasks in many processes and returns the results in order.
    """

    folder: Path
    options: EstimatorOptions = field(default_factory=EstimatorOptions)
    seed: int = 0
    mapper: Mapper = map

    def survey(self) -> tuple[list[ShardFiles], Space]:
        """The shards, and the names in them as numbers."""
        shards = find_shards(self.folder)
        return shards, Space.survey(shards, read_inventory(self.folder), seed=self.seed)

    def run(
        self,
        shards: Sequence[ShardFiles],
        space: Space,
        kept: Flags | None = None,
        scale: Scale | None = None,
        errors: ErrorRates | None = None,
    ) -> Scores:
        """Score the `kept` rows [all rows] by the remaining corpus, compared by `scale` or a new one.

        With the `errors` of a model there is another component, `error_relevance`.
        """
        tasks = self._tasks(shards, space, kept)
        with TemporaryDirectory(prefix="scoring-", dir=self.folder) as drafts:
            place = Path(drafts)
            emissions = self._learn(shards, space, kept, place) if self.options.is_aligned else None
            tasks = [replace(task, emissions=emissions, drafts=place, errors=errors) for task in tasks]
            merged = Statistics()
            for part in self.mapper(count, tasks):
                merged.merge(part)
            path = merged.save(place)
            found = self.mapper(estimate, [replace(task, statistics=path) for task in tasks])
            parts = [columns for columns_of_task in found for columns in columns_of_task]
        raw = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        relevance = {} if errors is None else {"error_relevance": rank_of_all(raw["error_relevance"], raw["seconds"])}
        if self.options.is_paper:
            return Scores(raw, spread_evenly(raw) | relevance, None)
        scale = scale or Scale.fit(raw, space)
        return Scores(raw, scale.ranks(raw) | relevance, scale)

    def _learn(self, shards: Sequence[ShardFiles], space: Space, kept: Flags | None, drafts: Path) -> Path:
        """Learn the sounds of phones of all languages from a sample of shards; returns the file."""
        step = -(-len(shards) // _SAMPLED_SHARDS)
        tasks = self._tasks(shards, space, kept, step)
        path = self._emissions(tasks, drafts)  # from evenly spread tokens
        for _ in range(ROUNDS):
            path = self._emissions([replace(task, emissions=path) for task in tasks], drafts)
        return path

    def _emissions(self, tasks: Sequence[Task], drafts: Path) -> Path:
        found = list(self.mapper(count_folds, tasks))
        folds = [Counts.merge([part[fold] for part in found]) for fold in range(FOLDS)]
        return Emissions.of(folds, 1).save(drafts)

    def _tasks(self, shards: Sequence[ShardFiles], space: Space, kept: Flags | None, step: int = 1) -> list[Task]:
        """Tasks of all shards, or of every `step`-th one."""
        if kept is not None and len(kept) != (total := sum(shard.rows for shard in shards)):
            raise OptionError(f"a selection of {len(kept)} rows does not fit the {total} rows of {self.folder}")
        tasks, shards = [], shards[::step]
        for at in range(0, len(shards), _SHARDS_PER_TASK):
            some = shards[at : at + _SHARDS_PER_TASK]
            masks = None if kept is None else [kept[one.start : one.start + one.rows] for one in some]
            tasks.append(Task(some, space, self.options, masks))
        return tasks


def write_scores(folder: Path, shards: Sequence[ShardFiles], columns: Mapping[str, NDArray[Any]]) -> None:
    """Write `scores-*.parquet`, one per shard, atomically; `columns` [all rows] with `row` in order."""
    parquet()
    import pyarrow as pa

    for shard in shards:
        rows = slice(shard.start, shard.start + shard.rows)
        table = pa.table({name: values[rows] for name, values in columns.items()})
        path = shard.measured.with_name(shard.measured.name.replace("measured", "scores", 1))
        save_table(folder / path.name, table)


def whole(columns: Mapping[str, NDArray[Any]], rows: Integers, count: int) -> dict[str, NDArray[Any]]:
    """Columns of some rows as columns of all `count` rows, NaN in the others."""
    found: dict[str, NDArray[Any]] = {"row": np.arange(count)}
    for name, values in columns.items():
        if name != "row":
            found[name] = np.full(count, np.nan, values.dtype)
            found[name][rows] = values
    return found
