"""`linnet evaluate compare` and `linnet evaluate contamination`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from linnet.cli import options as shared
from linnet.cli.console import make_reporter, notice, print_result, traced
from linnet.cli.options import option, renamed
from linnet.errors import OptionError

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="ROWS...",
        help="Two or more files of `linnet evaluate --output`; several runs of one system: a.jsonl,b.jsonl.",
    ),
]
By = Annotated[
    str | None,
    option(
        "--by",
        metavar="NAME",
        help="Resampling unit: speakers, sessions, recordings or utterances. Default: the first that all rows have.",
    ),
]
Level = Annotated[float, option("--level", metavar="P", help="Confidence level.")]
Resamples = Annotated[int, option("--resamples", metavar="N", min=1, help="Bootstrap samples.")]
Baseline = Annotated[
    str | None,
    option("--baseline", metavar="ROWS", help="Compare each system with this one, instead of all pairs."),
]
Seed = Annotated[int, option("--seed", verb="evaluate compare", metavar="N", help="Random seed of the bootstrap.")]
AsJson = Annotated[bool, option("--json", help="Print the result as JSON.")]


def compare(
    files: Files,
    by: By = None,
    level: Level = 0.95,
    resamples: Resamples = 5000,
    baseline: Baseline = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    verbose: shared.Verbose = False,
) -> None:
    """Compare systems: which is better, by how much, how significantly, and on which utterances and words.

    Only utterances that all systems scored count. The interval comes from a paired bootstrap over speakers, sessions or
    recordings; MAPSSWE is reported beside it, and with more than two systems p-values are adjusted (Holm).
    """
    from linnet.evaluation.compare import CompareOptions, compare_all
    from linnet.evaluation.rows import read_rows

    with traced(verbose):
        if len(files) < 2:
            raise OptionError(f"{files[0]} alone cannot be compared: give two or more files of rows")
        options = CompareOptions(by=by, level=level, resamples=resamples, seed=seed)  # type: ignore[arg-type]
        read = {name: [read_rows(Path(run)) for run in name.split(",")] for name in files}
        for line in (line for runs in read.values() for run in runs for line in run.bad):
            notice(line)
        systems = {name: [run.rows for run in runs] for name, runs in read.items()}
        if len(systems) < len(files):
            raise OptionError("a file is given twice: a system cannot be compared with itself")
        found = compare_all(systems, baseline=baseline, options=options)
        if as_json:
            print_result(json.dumps([one.to_dict() for one in found], ensure_ascii=False, indent=2) + "\n")
        else:
            print_result("\n\n".join("\n".join(one.lines()) for one in found) + "\n")


Training = Annotated[str, typer.Argument(metavar="TRAINING", help="Manifest or other source of training data.")]
Evaluated = Annotated[str, typer.Argument(metavar="EVALUATION", help="Manifest or other source of evaluation data.")]
Matches = Annotated[
    Path | None,
    option("--output", verb="evaluate contamination", metavar="FILE", help="Write one JSON line per match."),
]
CompareAudio = Annotated[bool, option("--audio/--no-audio", help="Compare audio.")]
FormerSounds = Annotated[bool | None, renamed("--sounds/--no-sounds", "--audio or --no-audio")]
Texts = Annotated[bool, option("--texts/--no-texts", help="Compare reference texts.")]


def contamination(
    training: Training,
    evaluation: Evaluated,
    output: Matches = None,
    audio: CompareAudio = True,
    texts: Texts = True,
    as_json: AsJson = False,
    sounds: FormerSounds = None,  # noqa: ARG001  raises if given
    progress: shared.ProgressKind = "auto",
    verbose: shared.Verbose = False,
) -> None:
    """Find evaluation data in training data: the same samples, near-identical audio or similar texts."""
    from linnet.data.duplicates import DuplicateOptions
    from linnet.data.sources import open_source
    from linnet.evaluation.contamination import find_contamination

    with traced(verbose), make_reporter(progress) as reporter:
        trained, scored = open_source(training), open_source(evaluation)
        found = find_contamination(trained, scored, DuplicateOptions(audio=audio, texts=texts))
        for source in (trained, scored):
            for line in source.report.lines():
                reporter.notice(line)
        if output is not None:
            found.write(output)
        if as_json:
            print_result(json.dumps(found.to_dict(), ensure_ascii=False, indent=2) + "\n")
        else:
            print_result("\n".join(found.lines()) + "\n")
