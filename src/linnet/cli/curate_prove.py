"""`linnet curate prove`: test whether a selection trains a better model than chance and other simple selections."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.console import notice, print_result
from linnet.cli.options import option
from linnet.errors import LinnetError, ModelError, OptionError

if TYPE_CHECKING:
    from linnet.curation.job import Corpus
    from linnet.curation.options import CurateOptions
    from linnet.curation.pool import Pool as Scored
    from linnet.curation.prove.baselines import Pool
    from linnet.curation.prove.experiment import Run, SetErrors
    from linnet.curation.prove.options import ProveOptions
    from linnet.curation.selection import Selection
    from linnet.data.manifest import Utterance
    from linnet.scoring.scores import WordErrors
    from linnet.training.options import RunSettings
    from linnet.transcription.recognizer import Recognizer

Picture = Annotated[
    Path | None, option("--picture", verb="curate prove", metavar="FILE", help="Also plot the table, as PNG or SVG.")
]


def prove(
    experiment: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A YAML file such as recipes/prove-digits.yaml.")
    ],
    picture: Picture = None,
    table_only: Annotated[bool, option("--table-only", help="Show existing results without training.")] = False,
) -> None:
    """Train the same recipe on different selections of the same hours, and compare the models.

    Baselines are random, stratified and duration-matched selections, the longest and the shortest, gates alone, and all
    the data, each with several seeds. A second run resumes the first.
    """
    from linnet.curation.prove.experiment import LOG, read_outcomes
    from linnet.curation.prove.experiment import prove as run
    from linnet.curation.prove.options import read_experiment
    from linnet.curation.prove.results import caption, draw, lines, not_better, table
    from linnet.pages.pictures import check_picture

    if picture is not None:
        check_picture(picture)
    options = read_experiment(experiment)
    if table_only:
        outcomes = read_outcomes(Path(options.output) / LOG)
    else:
        bench = Bench(options)
        outcomes = run(options, bench, bench.pool, notify=notice)
    if not outcomes:
        raise LinnetError(f"{options.output}: no run to show")
    found, model = lines(outcomes, options.against), trained_model(Path(options.recipe))
    print_result(f"{caption(outcomes, model)}\n\n{table(found, options.against, model)}\n")
    for sentence in not_better(found, options.against):
        notice(sentence)
    if picture is not None:
        draw(found, picture, caption(outcomes, model))


class Bench:
    """Selects by `linnet.curation`, trains by `linnet.training`, tests by `linnet.evaluation` or a method `transcribe`.

    A recipe of an own task may have it: (folder of the model, utterances) -> texts.
    """

    def __init__(self, options: ProveOptions) -> None:
        from linnet.data.manifest import read_manifest
        from linnet.text.normalizers import Normalizers

        self._options = options
        self._normalizers = Normalizers(options.normalizer)
        self._tests = {
            name: [row for row in read_manifest(path) if row.text is not None] for name, path in options.tests.items()
        }
        self._corpora: dict[int, tuple[Corpus, Scored]] = {}
        self._by_heep: dict[tuple[int, float], Selection] = {}  # independent of the seed
        self._loaded: tuple[Path, Recognizer] | None = None  # the model of the current run

    def pool(self, number: int) -> tuple[Sequence[Utterance], Pool]:
        """The rows of a pool, and their properties for baselines."""
        import numpy as np

        from linnet.curation.job import usable_rows
        from linnet.curation.prove.baselines import Pool
        from linnet.data.manifest import read_manifest

        files = self._options.pools[number]
        rows = list(read_manifest(files.manifest))
        corpus, scored = self._scored(number)
        clean = None
        if files.clean:
            ids = {row.id for row in read_manifest(files.clean)}
            clean = np.array([row.id in ids for row in rows])
        strata = tuple(f"{row.language or ''}/{row.domain or ''}" for row in rows)
        errors = _errors(rows, Path(files.errors)) if files.errors else None
        return rows, Pool(scored.seconds, strata, errors, usable_rows(scored, corpus.options.select), clean)

    def select(self, pool: int, method: str, budget: float, seed: int) -> Sequence[int]:
        """The rows kept by a preset."""
        from dataclasses import replace

        import numpy as np

        from linnet.curation.job import curate
        from linnet.curation.select import select

        corpus, scored = self._scored(pool)
        options = replace(corpus.options, preset=method).keeping(share=budget / float(scored.seconds.sum()))
        if method == "balanced":
            selection = select(scored, replace(options.select, seed=seed))
        else:
            if (pool, budget) not in self._by_heep:
                self._by_heep[pool, budget] = curate(replace(corpus, options=options)).selection
            selection = self._by_heep[pool, budget]
        kept = np.flatnonzero(selection.kept)
        rows: list[int] = _within(kept, scored.seconds, budget, selection.priorities).tolist()
        return rows

    def train(self, manifest: Path, run: Run, folder: Path) -> Path:
        """Train the recipe on this manifest, with this seed and number of steps."""
        from linnet.training.context import RunContext
        from linnet.training.folder import result_folder
        from linnet.training.loop import run_recipe
        from linnet.training.recipe import read_recipe

        path = folder / "recipe.yaml"
        path.write_text(_recipe(Path(self._options.recipe), manifest, run, folder), encoding="utf-8")
        recipe = read_recipe(path)
        deque(run_recipe(recipe, RunContext(skip_bad=True)), maxlen=0)
        return result_folder(recipe)

    def test(self, model: Path, name: str, folder: Path) -> SetErrors:
        """Errors on one of the tests; after the last the model and its checkpoints are removed."""
        from linnet.curation.prove.experiment import SetErrors
        from linnet.training.recipe import read_recipe

        rows, recipe = self._tests[name], read_recipe(folder / "recipe.yaml")
        transcribe = getattr(recipe, "transcribe", None)
        if transcribe is None:
            counts = self._evaluated(self._recognizer(model, recipe.run), name)
        else:
            counts = self._own(transcribe(model, rows), rows)
        if name == next(reversed(self._tests)):
            self._remove(model, folder)
        return SetErrors(
            tuple(row.speaker or "" for row in rows),
            tuple(one.errors for one in counts),
            tuple(one.words for one in counts),
        )

    def _recognizer(self, model: Path, run: RunSettings) -> Recognizer:
        """The model of the current run, loaded once for all tests, on the device and threads of its training."""
        from linnet.transcription.recognizer import load

        if self._loaded is None or self._loaded[0] != model:
            made = load(str(model), device=run.device, threads=run.threads or None, offline=True)
            self._loaded = model, made
        return self._loaded[1]

    def _remove(self, model: Path, folder: Path) -> None:
        """Remove the model of a run, its checkpoints, and what an engine has made of it."""
        from linnet.engines.openvino.copies import find_copies, remove_copies

        if self._loaded is not None:
            self._loaded = None
            try:
                remove_copies(find_copies(model))
            except ModelError as error:  # the run is done
                notice(str(error))
        shutil.rmtree(folder / "run", ignore_errors=True)

    def _evaluated(self, recognizer: Recognizer, name: str) -> list[WordErrors]:
        """The errors of a model that Linnet loads."""
        from linnet.evaluation.run import EvaluationOptions, evaluate_rows, select

        rows, _ = select(self._tests[name])
        options = EvaluationOptions(normalizers=self._normalizers, batch_size=8)
        scored = sorted(evaluate_rows(recognizer, rows, options), key=lambda row: row.row)
        if failed := next((row for row in scored if row.error is not None), None):
            raise LinnetError(f"{name}: {failed.id} cannot be scored: {failed.error}")
        return [row.counts for row in scored]

    def _own(self, heard: Sequence[str], rows: Sequence[Utterance]) -> list[WordErrors]:
        """The errors of a model that only its recipe can load."""
        from linnet.scoring.scores import count_errors

        plain = self._normalizers.normalize
        return [
            count_errors(plain(row.text or "", row.language), plain(text, row.language))
            for row, text in zip(rows, heard, strict=True)
        ]

    def _scored(self, number: int) -> tuple[Corpus, Scored]:
        """Measure and score a pool once for all runs."""
        from linnet.curation.job import Watcher, measure, score
        from linnet.data.manifest import read_manifest

        if number not in self._corpora:
            work = Path(self._options.output) / f"pool-{number}.work"
            rows = read_manifest(self._options.pools[number].manifest)
            corpus = measure(rows, work, self._curation(), watcher=Watcher(notice))
            self._corpora[number] = corpus, score(corpus)
        return self._corpora[number]

    def _curation(self) -> CurateOptions:
        from linnet.curation.options import CurateOptions, read_options

        path = self._options.curation
        return read_options(Path(path)) if path else CurateOptions()


def trained_model(recipe: Path) -> str:
    """What a recipe trains, for tables: `tiny.en, fine-tuned`, or the recipe's name where it names no checkpoint.

    Raises `OptionError` for a recipe that cannot be read.
    """
    from linnet.settings import read_yaml_file

    content = read_yaml_file(recipe, "recipe")
    model = content.get("model") if isinstance(content, dict) else None
    checkpoint = model.get("checkpoint") if isinstance(model, dict) else None
    return f"{Path(str(checkpoint)).name}, fine-tuned" if checkpoint else recipe.stem


def _within(rows: Any, seconds: Any, budget: float, priorities: Any) -> Any:
    """The rows of highest priority that fit the budget, since HEEP's threshold ignores hours."""
    import numpy as np

    from linnet.curation.prove.baselines import fill

    order = rows[np.argsort(-np.nan_to_num(priorities[rows]), kind="stable")]
    return fill(order, seconds, budget)


def _recipe(template: Path, manifest: Path, run: Run, folder: Path) -> str:
    """The recipe with this data, seed, length and output; `{seed}` in its strings is replaced by the seed."""
    import yaml

    from linnet.settings import read_yaml_file
    from linnet.training.task import is_own

    content = read_yaml_file(template, "recipe")
    if not isinstance(content, dict):
        raise OptionError(f"{template}: expected keys and values")
    task = content.get("task", "")
    if is_own(task) and task.rpartition(":")[0].endswith(".py"):
        content["task"] = str((template.parent / task).absolute())
    content.setdefault("data", {})["train"] = [{"path": str(manifest.absolute())}]
    content.setdefault("optimization", {})["steps"] = run.steps
    content["optimization"].pop("epochs", None)
    content.setdefault("run", {})["seed"] = run.seed
    content["run"]["output"] = str((folder / "run").absolute())
    return yaml.safe_dump(content, sort_keys=False).replace("{seed}", str(run.seed))


def _errors(rows: Sequence[Utterance], path: Path) -> Any:
    """The error rate of each row in an evaluation of the pool, NaN if it has none."""
    import numpy as np

    from linnet.evaluation.log import read_lines
    from linnet.files import whole_lines

    try:
        lines = read_lines(whole_lines(path))
    except OSError as error:
        raise OptionError(f"{path}: cannot read the evaluation: {error.strerror}.") from error
    if lines is None:
        raise OptionError(f"{path}: not written by linnet evaluate: make it with  linnet evaluate POOL --output {path}")
    found = {row.id: row for row in lines.rows if row.error is None}
    rates = [found[row.id].counts if row.id in found else None for row in rows]
    return np.array([np.nan if one is None or not one.words else one.errors / one.words for one in rates])
