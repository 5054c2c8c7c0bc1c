"""Run an experiment: every method, budget, seed and draw, with each run stored as soon as it is done.

Training and scoring are passed in as functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from linnet.curation.prove import baselines
from linnet.curation.prove.baselines import Pool, Rows
from linnet.curation.prove.options import DRAWN, PRESETS, WHOLE, ProveOptions
from linnet.curation.shards import absolute
from linnet.data.manifest import Utterance, write_manifest
from linnet.errors import LinnetError, OptionError
from linnet.files import JsonLog, whole_lines
from linnet.notices import Notify, ignore

LOG = "runs.jsonl"


@dataclass(frozen=True)
class Run:
    """One training run: its rows, number of steps, and seed."""

    pool: int
    budget: float
    method: str
    seed: int
    draw: int
    steps: int

    @property
    def key(self) -> str:
        """A name that identifies the run."""
        return f"{self.method}-{self.budget:g}-seed{self.seed}-draw{self.draw}"


@dataclass(frozen=True)
class SetErrors:
    """Errors and words of each utterance of a test, with its speaker."""

    speakers: tuple[str, ...]
    errors: tuple[int, ...]
    words: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: the amount of training data, and the errors on each test."""

    run: Run
    rows: int
    hours: float
    digest: str  # of the selected rows
    tests: Mapping[str, SetErrors]


class Laboratory(Protocol):
    """The external operations of an experiment."""

    def select(self, pool: int, method: str, budget: float, seed: int) -> Sequence[int]:
        """The rows that a preset selects from a pool, within `budget` seconds."""
        ...

    def train(self, manifest: Path, run: Run, folder: Path) -> Path:
        """Train the recipe on a manifest; returns the folder of the model."""
        ...

    def test(self, model: Path, name: str, folder: Path) -> SetErrors:
        """Score a model on one of the tests."""
        ...


PoolReader = Callable[[int], tuple[Sequence[Utterance], Pool]]


def plan(options: ProveOptions) -> Iterator[Run]:
    """All runs, seed by seed, so that an interrupted experiment has complete seeds."""
    for seed in range(options.seeds):
        for budget in options.budgets:
            for method in options.chosen():
                if method == "full-steps" and budget != options.budgets[0]:
                    continue  # independent of the budget
                steps = round(options.steps / budget) if method == "full-epochs" else options.steps
                for draw in range(options.draws if method in DRAWN else 1):
                    yield Run(seed % len(options.pools), budget, method, seed, draw, steps)


def prove(
    options: ProveOptions, laboratory: Laboratory, read_pool: PoolReader, *, notify: Notify = ignore
) -> list[Outcome]:
    """Yield the outcome of every run; those of an earlier call with the same experiment are read from its log.

    A failed run is reported and skipped; the next call tries it again. Raises `OutputError` if nothing can be written,
    and `OptionError` if the folder holds another experiment.
    """
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    check_same(options, folder)
    done = {one.run: one for one in read_outcomes(folder / LOG)}
    held: tuple[int, Sequence[Utterance], Pool] | None = None
    with JsonLog(folder / LOG) as log:
        for run in plan(options):
            if run in done:
                continue
            if held is None or held[0] != run.pool:
                held = (run.pool, *read_pool(run.pool))
            try:
                done[run] = _perform(options, run, laboratory, held[1], held[2])
            except OptionError:
                raise
            except LinnetError as error:
                notify(f"{run.key}: failed: {error}")
                continue
            log.append(asdict(done[run]))
            notify(f"{run.key}: {_said(done[run])}")
    return [done[run] for run in plan(options) if run in done]


def check_same(options: ProveOptions, folder: Path) -> None:
    """Check that a folder holds only one experiment: the first call stores its options, later ones must have the same.

    Seeds, draws, budgets, methods and `against` may change.
    """
    free = {"seeds", "draws", "budgets", "methods", "against", "output"}
    asked = json.loads(json.dumps({key: value for key, value in asdict(options).items() if key not in free}))
    path = folder / "experiment.json"
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(key for key in asked if kept.get(key) != asked[key])
        if other:
            raise OptionError(
                f"{folder} holds another experiment ({', '.join(other)} differ): choose another output, or remove it"
            )
        return
    path.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")


def choose(options: ProveOptions, run: Run, laboratory: Laboratory, pool: Pool) -> Rows:
    """The rows of a run. Raises `OptionError` for a method whose input is missing."""
    budget = run.budget * float(pool.seconds.sum())
    seed = 1000 * run.seed + run.draw
    ways: dict[str, Callable[[], Rows]] = {
        **dict.fromkeys(WHOLE, lambda: np.arange(len(pool))),
        **dict.fromkeys(PRESETS, lambda: _selected(laboratory, run, run.method, budget)),
        "random": lambda: baselines.random(pool, budget, seed),
        "stratified": lambda: baselines.stratified(pool, budget, seed),
        "duration-matched": lambda: baselines.duration_matched(
            pool, budget, seed, _selected(laboratory, run, options.against, budget)
        ),
        "longest": lambda: baselines.longest(pool, budget, seed),
        "shortest": lambda: baselines.shortest(pool, budget, seed),
        "gate-only": lambda: baselines.among(pool, budget, seed, pool.valid, "gate-only"),
        "highest-error": lambda: baselines.by_error(pool, budget, seed, highest=True),
        "lowest-error": lambda: baselines.by_error(pool, budget, seed, highest=False),
        "oracle": lambda: baselines.among(pool, budget, seed, pool.clean, "oracle"),
    }
    return ways[run.method]()


def _selected(laboratory: Laboratory, run: Run, preset: str, budget: float) -> Rows:
    return np.sort(np.asarray(laboratory.select(run.pool, preset, budget, run.seed), np.int64))


def _perform(options: ProveOptions, run: Run, laboratory: Laboratory, rows: Sequence[Utterance], pool: Pool) -> Outcome:
    chosen = choose(options, run, laboratory, pool)
    folder = Path(options.output) / run.key
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "train.jsonl"
    write_manifest(manifest, [_at_home(rows[row]) for row in chosen.tolist()])
    model = laboratory.train(manifest, run, folder)
    tests = {name: laboratory.test(model, name, folder) for name in options.tests}
    digest = hashlib.blake2b(chosen.astype("<i8").tobytes(), digest_size=8).hexdigest()
    return Outcome(run, len(chosen), float(pool.seconds[chosen].sum()) / 3600, digest, tests)


def _at_home(row: Utterance) -> Utterance:
    """With the path of its recording made absolute, for a manifest in another folder."""
    return replace(row, audio=absolute(row.audio, str(Path.cwd())))


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes in a log; empty if there is no log."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in whole_lines(path)] if path.exists() else []
    return [
        Outcome(
            Run(**row["run"]),
            row["rows"],
            row["hours"],
            row["digest"],
            {
                name: SetErrors(*(tuple(test[key]) for key in ("speakers", "errors", "words")))
                for name, test in row["tests"].items()
            },
        )
        for row in rows
    ]


def _said(outcome: Outcome) -> str:
    rates = [f"{name} {sum(test.errors) / max(1, sum(test.words)):.2%}" for name, test in outcome.tests.items()]
    return f"{outcome.rows} rows, {outcome.hours:.2f} h: {', '.join(rates)}"
