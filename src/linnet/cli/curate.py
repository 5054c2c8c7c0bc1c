"""`linnet curate`: choose the recordings that are worth training on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from linnet.cli.console import notice, print_result
from linnet.cli.curate_hear import hear
from linnet.cli.curate_languages import languages
from linnet.cli.curate_prove import prove
from linnet.cli.default_command import WithDefault
from linnet.cli.options import option
from linnet.errors import LinnetError, OptionError
from linnet.files import check_place

if TYPE_CHECKING:
    from linnet.curation.job import Corpus, Curated
    from linnet.curation.options import CurateOptions
    from linnet.curation.outputs import OutputOptions
    from linnet.curation.selection import Selection
    from linnet.data.sources import Source

app = typer.Typer(cls=WithDefault, help="Choose the recordings that are worth training on, and prove the choice.")
app.command()(hear)
app.command()(languages)
app.command()(prove)

SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="JSONL with the keys audio and text (and language, speaker, domain, id), a NeMo or Lhotse file, a Kaldi "
        "folder, a Common Voice table, a parquet file, a Hub data set; KIND:SOURCE says which.",
    ),
]
Keep = Annotated[float | None, option("--keep", metavar="X", help="Share of the hours to keep. Default: 0.2.")]
Hours = Annotated[float | None, option("--hours", metavar="H", help="Hours to keep.")]
Preset = Annotated[
    Literal["balanced", "heep"] | None,
    option(
        "--preset",
        verb="curate",
        help="balanced (default): gates, then coverage per second; heep: one score and a growing threshold.",
    ),
]
Settings = Annotated[
    Path | None, option("--options", verb="curate", metavar="FILE.yaml", help="Further settings, see docs/curate.md.")
]
Output = Annotated[
    Path | None,
    option("--output", verb="curate", metavar="FILE", help="File for the selection, or a folder for Kaldi."),
]
Format = Annotated[
    Literal["linnet", "nemo", "lhotse", "kaldi", "parquet"],
    option("--format", verb="curate", help="Format of --output; parquet is a Hugging Face data set including audio."),
]
Mark = Annotated[
    Path | None,
    option("--mark", metavar="FILE", help="With --format nemo: copy this manifest, with dropped rows marked _skipme."),
]
Work = Annotated[
    Path | None,
    option("--work", verb="curate", metavar="FOLDER", help="Folder for measurements and scores. Default: OUTPUT.work."),
]
HeldOut = Annotated[
    list[str] | None,
    option("--held-out", metavar="SOURCE", help="Evaluation set: its recordings are never kept. Repeatable."),
]
Errors = Annotated[
    Path | None,
    option("--errors", metavar="FILE", help="Rows of linnet evaluate on held-out data: difficult speech counts more."),
]
Heard = Annotated[
    Path | None,
    option(
        "--heard",
        metavar="FILE",
        help="Rows of linnet curate hear, or linnet evaluate, on SOURCE itself: finds wrong transcripts.",
    ),
]
Rounds = Annotated[
    Path | None,
    option("--rounds", metavar="FOLDER", help="With --preset heep: run the next round after those in the folder."),
]
Report = Annotated[
    Path | None,
    option("--report", verb="curate", metavar="FILE.html", help="Write an HTML page: hours, scores, gates, examples."),
]
Workers = Annotated[
    int | None,
    option("--workers", verb="curate", metavar="N", min=1, help="Processes. Default: one per core."),
]
Cluster = Annotated[
    str | None,
    option("--cluster", metavar="ADDRESS", help="Run on a Ray cluster: ray for one on this machine, or its address."),
]
DryRun = Annotated[bool, option("--dry-run", help="Measure and score, show the effect of budgets, write nothing.")]
Force = Annotated[bool, option("--force", verb="curate", help="Write even if a group would lose nearly everything.")]
AsJson = Annotated[bool, option("--json", verb="curate", help="Print the result as JSON.")]
WorkFolder = Annotated[Path, typer.Argument(metavar="WORK", help="Work folder of a curation.")]

STARVED = 0.2  # a group that keeps less than this share of an even part is reported
NAMED = 5


@app.command()
def run(
    source: SourceName,
    keep: Keep = None,
    hours: Hours = None,
    preset: Preset = None,
    settings: Settings = None,
    output: Output = None,
    format: Format = "linnet",
    mark: Mark = None,
    work: Work = None,
    held_out: HeldOut = None,
    errors: Errors = None,
    heard: Heard = None,
    rounds: Rounds = None,
    report: Report = None,
    workers: Workers = None,
    cluster: Cluster = None,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Choose the recordings that are worth training on.

    Damaged recordings, wrong transcripts and duplicates are dropped; of the others, those are kept that add most per
    second to the selection. The reason for every recording is recorded: see linnet curate explain. A second run resumes
    the first, and decodes nothing again.
    """
    from linnet.curation.outputs import OutputOptions
    from linnet.curation.workers import shared_workers
    from linnet.data.sources import open_source

    if output is None and not dry_run:
        raise OptionError("give a file for the selection: --output kept.jsonl (or --dry-run)")
    place = work or (output.with_name(f"{output.name}.work") if output is not None else None)
    if place is None:
        raise OptionError("give a folder for measurements: --work FOLDER")
    options = _options(settings, preset, (keep, hours), (held_out, errors, heard), (workers, cluster))
    form = OutputOptions(format, marked=mark)
    for given in (options.errors, options.heard):
        if given and not Path(given).is_file():
            raise OptionError(f"{given}: no such file")
    opened = open_source(source)
    _check_places(opened, output, report, form)
    with shared_workers(options.workers):
        corpus = _measure(opened, place, options)
        curated = _choose(corpus, rounds)
    if dry_run or output is None:
        _print_budgets(curated, options, as_json)
        return
    _refuse_starved(curated.selection, force)
    curated.selection.write(place)
    _write(opened, curated, output, form)
    if report is not None:
        from linnet.curation.page import write_page

        write_page(report, corpus, curated)
    _print_summary(curated.selection, output, as_json)


@app.command()
def explain(work: WorkFolder, name: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Explain why one recording was kept or dropped, with all reasons."""
    from linnet.curation.explain import explain as explain_one
    from linnet.curation.pool import read_pool
    from linnet.curation.selection import read_selection

    found = explain_one(read_selection(work), name, read_pool(work))
    text = json.dumps(found.to_dict(), ensure_ascii=False, indent=2) if as_json else "\n".join(found.lines())
    print_result(text + "\n")


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="WORK_A")],
    second: Annotated[Path, typer.Argument(metavar="WORK_B")],
    as_json: AsJson = False,
) -> None:
    """Compare two selections of the same recordings."""
    from linnet.curation.diff import compare
    from linnet.curation.selection import read_selection

    found = compare(read_selection(first), read_selection(second))
    text = json.dumps(found.to_dict(), ensure_ascii=False, indent=2) if as_json else "\n".join(found.lines())
    print_result(text + "\n")


def _options(
    settings: Path | None,
    preset: str | None,
    budget: tuple[float | None, float | None],
    known: tuple[list[str] | None, Path | None, Path | None],
    work: tuple[int | None, str | None],
) -> CurateOptions:
    from dataclasses import replace

    from linnet.curation.options import CurateOptions, read_options

    options = CurateOptions() if settings is None else read_options(settings)
    if preset is not None:
        options = replace(options, preset=preset)
    held_out, errors, heard = known
    if held_out:
        options = replace(options, held_out=tuple(held_out))
    if errors is not None:
        options = replace(options, errors=str(errors))
    if heard is not None:
        options = replace(options, heard=str(heard))
    workers, cluster = work
    if workers is not None:
        options = replace(options, workers=replace(options.workers, workers=workers))
    if cluster is not None:
        options = replace(options, workers=replace(options.workers, cluster=cluster))
    return options.keeping(*budget)


def _check_places(source: Source, output: Path | None, report: Path | None, form: OutputOptions) -> None:
    """Refuse, before the work, to write over the corpus, the selection or what is no selection, or where one cannot."""
    for path in (output, report):
        if path is not None:
            check_place(path)
    if output is None:
        return
    form.check(output)
    corpus = [Path(source.spec.path), *([form.marked] if form.marked else [])]
    for option_name, path in (("--output", output), ("--report", report)):
        if path is not None and path.exists() and any(one.exists() and path.samefile(one) for one in corpus):
            raise OptionError(f"{path}: is the corpus itself: choose another {option_name}")
    if report is not None and report.absolute() == output.absolute():
        raise OptionError(f"{report}: is --output as well: choose another --report")


def _measure(source: Source, place: Path, options: CurateOptions) -> Corpus:
    from linnet.curation.job import Watcher, measure

    return measure(source, place, options, watcher=Watcher(notice, _progress))


def _progress(done: int, count: int) -> None:
    if done == count or done % max(1, count // 20) == 0:
        notice(f"{done:,} of {count:,} shards decoded")


def _choose(corpus: Corpus, rounds: Path | None) -> Curated:
    from linnet.curation.job import Watcher, advance, curate, leak_gates, read_errors

    options = corpus.options
    watcher = Watcher(notice)
    if rounds is not None and options.preset != "heep":
        raise OptionError("--rounds goes with --preset heep")
    errors = read_errors(corpus, Path(options.errors)) if options.errors else None
    if rounds is not None:
        done, curated = advance(corpus, rounds, errors)
        notice(done.line)
        return curated
    return curate(corpus, gates=leak_gates(corpus, watcher), errors=errors, watcher=watcher)


def _refuse_starved(selection: Selection, force: bool) -> None:
    """Refuse a selection that keeps nearly nothing of a group, since this is rarely intended."""
    lost = [
        f"{kind} {name or '(none)'} ({share:.0%} of an even part)"
        for kind in ("language", "domain")
        for name, share in selection.starved(kind, STARVED).items()
    ]
    if not lost:
        return
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    sentence = f"nearly nothing is kept of {', '.join(lost[:NAMED])}{more}"
    if not force:
        raise LinnetError(
            f"{sentence}: give a floor ({{select: {{budget: {{language: {{floor_hours: 1}}}}}}}} in --options), or "
            "--force"
        )
    notice(sentence)


def _write(source: Source, curated: Curated, output: Path, form: OutputOptions) -> None:
    from linnet.curation.outputs import chosen_rows, write_selection

    rows = chosen_rows(source, curated.selection, curated.pool.scores)
    written = write_selection(output, rows, form)
    for line in written.lines():
        notice(line)
    if not curated.selection.kept.any():
        notice("nothing is kept: no recording passes the gates and fits into the budget (see linnet curate explain)")


def _print_summary(selection: Selection, output: Path, as_json: bool) -> None:
    if as_json:
        print_result(json.dumps(selection.summary() | {"output": str(output)}, ensure_ascii=False, indent=2) + "\n")
        return
    rows = [("kept", f"{int(selection.kept.sum()):,} of {len(selection):,} recordings, {selection.hours:.2f} hours")]
    rows += [
        (name, f"{count:,} recordings, {length:.2f} hours") for name, (count, length) in selection.by_fate().items()
    ]
    rows.append(("output", str(output)))
    print_result("".join(f"{name:<20} {value}\n" for name, value in rows))


def _print_budgets(curated: Curated, options: CurateOptions, as_json: bool) -> None:
    from linnet.curation.budgets import other_budgets

    points = other_budgets(curated.pool, options.select, curated.more_gates)
    if as_json:
        print_result(json.dumps([point.to_dict() for point in points], indent=2) + "\n")
        return
    print_result("share   hours      recordings   covered\n")
    for point in points:
        print_result(f"{point.share:<7g} {point.hours:<10.2f} {point.rows:<12,} {point.covered:.1%}\n")
