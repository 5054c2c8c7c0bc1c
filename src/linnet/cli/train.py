"""`linnet train`: train a recipe, plan its batches, plot the curves of a run."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli.console import notice, print_result
from linnet.cli.default_command import WithDefault
from linnet.cli.options import option
from linnet.cli.processes import launch
from linnet.cli.train_log import show
from linnet.cli.train_remote import RemoteOptions, train_there
from linnet.errors import MissingExtra, OptionError

if TYPE_CHECKING:
    from linnet.training.options import Recipe

train = typer.Typer(cls=WithDefault, help="Train a model from a recipe, plan its batches, plot its curves.")

Picture = Annotated[Path | None, option("--picture", metavar="FILE", help="Also plot the figures, as PNG or SVG.")]
Curves = Annotated[
    Path | None,
    option(
        "--output",
        verb="train plot",
        metavar="FILE",
        help="PNG or SVG to write. Default: curves.png in the (first) run's folder.",
    ),
]


@train.command()
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file such as recipes/tiny-audio.yaml.")],
    dry_run: Annotated[
        bool, option("--dry-run", help="Check the recipe and print parameters, steps and padding, without training.")
    ] = False,
    skip_bad: Annotated[
        bool, option("--skip-bad", help="Skip unusable utterances (missing audio, ...) and report them.")
    ] = False,
    remote: Annotated[
        str | None,
        option(
            "--remote",
            metavar="USER@HOST",
            help="Train on that machine over ssh, rsync and tmux; --dry-run prints the commands.",
        ),
    ] = None,
    remote_folder: Annotated[
        str, option("--remote-folder", metavar="PATH", help="Folder on the remote machine, relative to its home.")
    ] = "linnet",
    processes: Annotated[
        int, option("--processes", metavar="N", min=1, help="Training processes on one machine, one per GPU.")
    ] = 1,
    wheel: Annotated[
        Path | None,
        option(
            "--wheel",
            metavar="FILE",
            help="With --remote: install this wheel instead of the one from the package index.",
        ),
    ] = None,
    forward: Annotated[
        list[str] | None,
        option("--forward", metavar="NAME", help="With --remote: pass on another environment variable."),
    ] = None,
) -> None:
    """Train a model from a recipe; the same command resumes an interrupted run.

    The log goes to stderr (one JSON object per line if that is not a terminal) and to log.jsonl in the run's folder,
    the folder of the finished model to stdout.
    """
    from linnet.training.recipe import read_recipe

    found = read_recipe(recipe)
    _require_known(found)
    if remote is not None:
        there = RemoteOptions(remote, remote_folder, processes, wheel, tuple(forward or ()))
        train_there(found, there, dry_run=dry_run, skip_bad=skip_bad)
        return
    _require_extra(found.run.track)
    if processes > 1 and not dry_run:
        launch(processes, ["train", "run", str(recipe), *(["--skip-bad"] if skip_bad else [])])
        return
    if dry_run:
        _plan(found, skip_bad)
    else:
        _train(found, skip_bad)


@train.command()
def fit_memory(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file such as recipes/tiny-audio.yaml.")],
    memory: Annotated[
        str, option("--memory", metavar="40GB", help="Memory limit per process. Default: what is free, less a margin.")
    ] = "auto",
    processes: Annotated[int, option("--processes", metavar="N", min=1, help="Number of training processes.")] = 1,
    force: Annotated[bool, option("--force", help="Repeat measurements from earlier runs.")] = False,
    skip_bad: Annotated[bool, option("--skip-bad", help="Skip unusable utterances and report them.")] = False,
    as_json: Annotated[bool, option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the memory that a training step needs, and derive batch sizes.

    Steps on synthetic audio run in their own processes at eight shapes, a cost is fitted and checked on batches of
    three bins. It is cached for this model, machine and number of processes; with  memory: 40GB  under `data:
    batching:` a recipe plans its batches by it.
    """
    _require_extra()
    from linnet.training.context import RunContext
    from linnet.training.estimate.fit_memory import fit_memory as fit
    from linnet.training.recipe import read_recipe
    from linnet.training.speech.recipe import SpeechRecipe

    found = read_recipe(recipe)
    if not isinstance(found, SpeechRecipe):
        raise OptionError(f"{recipe}: fit-memory is for recipes with  task: speech")
    made = fit(found, RunContext(skip_bad, notice), memory=memory, processes=processes, force=force)
    notice(f"kept in {made.kept}")
    print_result(
        json.dumps(made.to_dict(), indent=2) + "\n" if as_json else "\n".join(_table(rows) for rows in made.tables())
    )


@train.command()
def bench_batching(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="JSONL whose rows have a duration and a text.")],
    budget: Annotated[
        float, option("--budget", metavar="SECONDS", help="Padded seconds per batch; a token counts as 80 ms.")
    ] = 600.0,
    longest: Annotated[
        float | None, option("--longest", metavar="SECONDS", help="Skip longer utterances. Default: keep all.")
    ] = None,
    world: Annotated[int, option("--world", metavar="N", min=1, help="Processes that train together.")] = 1,
    picture: Picture = None,
    as_json: Annotated[bool, option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare the padding of five batching methods on a corpus; tokens are estimated from the length of the texts."""
    from linnet.data.batching import bench_manifest
    from linnet.pages.pictures import check_picture, save_figure

    if picture is not None:
        check_picture(picture)
    report = bench_manifest(manifest, longest=longest or float("inf"), budget=budget, world=world)
    for line in report.selection.lines():
        notice(line)
    if picture is not None:
        save_figure(report.picture(), picture)
    print_result(json.dumps(report.to_dict(), indent=2) + "\n" if as_json else _table(report.table()))


@train.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or their log.jsonl.")],
    output: Curves = None,
) -> None:
    """Plot the curves of runs: loss, error rate, learning rate, padding, speed, memory; prints the picture's path."""
    from linnet.pages.pictures import check_picture, save_figure
    from linnet.training.curves import draw_curves, read_log

    first = runs[0] if runs[0].is_dir() else runs[0].parent
    target = check_picture(output or first / "curves.png")
    save_figure(draw_curves({str(run): read_log(run) for run in runs}), target)
    print_result(f"{target}\n")


def _require_extra(track: str = "") -> None:
    try:
        import accelerate  # noqa: F401
    except ImportError:
        raise MissingExtra("training", extra="train") from None
    from linnet.training.tracking import check_tracker

    check_tracker(track)


def _require_known(recipe: Recipe) -> None:
    """Reject an unknown normalizer, which the recipe itself cannot check."""
    from linnet.text.normalizers import Normalizers

    Normalizers(getattr(recipe.run, "normalizer", "auto"))


def _train(recipe: Recipe, skip_bad: bool) -> None:
    from linnet.scoring.validation import ValidationScore
    from linnet.training.context import RunContext
    from linnet.training.folder import result_folder
    from linnet.training.loop import run_recipe
    from linnet.training.shutdown import Signals, StoppedError

    first = os.environ.get("RANK", "0") == "0"  # in processes started by torchrun
    notify = notice if first else _say_nothing
    with Signals(notify) as stop:
        normalizer = getattr(recipe.run, "normalizer", "auto")
        rows = run_recipe(recipe, RunContext(skip_bad, notify, ValidationScore(normalizer, notify), stop))
        try:
            show(rows) if first else deque(rows, maxlen=0)  # reported by the first process
        except StoppedError as stopped:
            notify(str(stopped))
            raise typer.Exit(130) from None
    if first:
        print_result(f"{result_folder(recipe)}\n")


def _plan(recipe: Recipe, skip_bad: bool) -> None:
    from linnet.training.context import RunContext

    rows = list(recipe.outline(RunContext(skip_bad)))
    print_result("".join(f"{name:<18}{figure}\n" for name, figure in rows))
    if missing := [name for name, figure in rows if figure.startswith("missing: ")]:
        raise OptionError(f"the recipe is valid, but its {' and '.join(missing)} is missing: see above")


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _say_nothing(text: str) -> None:
    """Ignore a notice, which another process prints."""
