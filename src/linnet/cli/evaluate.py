"""`linnet evaluate`: how good recognisers are, and which is better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from linnet.cli import options as shared
from linnet.cli.compare import compare, contamination
from linnet.cli.console import listening, make_reporter, print_result, traced
from linnet.cli.default_command import WithDefault
from linnet.cli.evaluate_job import Files, Given, Job, Recognised, Scoring, System
from linnet.cli.options import ModelChoice, numbers, option
from linnet.cli.processes import stoppable
from linnet.errors import LinnetError, OptionError

app = typer.Typer(cls=WithDefault, help="Score recognisers, compare them, and look for test data in training data.")

Source_ = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="JSONL with the keys audio and text (and language, speaker, id), a NeMo, Lhotse or leaderboard file, a "
        "Kaldi folder, a Common Voice table, a parquet file, a Hub data set; KIND:SOURCE says which.",
    ),
]
SuiteName = Annotated[
    str | None,
    option(
        "--suite",
        metavar="NAME",
        help="Instead of SOURCE all sets of a suite: open-asr, open-asr:TABLE, or a YAML file. --output is a folder.",
    ),
]
Model = Annotated[
    str | None,
    option(
        "--model",
        metavar="NAME",
        help="An embedded name (digits), a folder, or a Hub id; or another system as KIND:MODEL, such as "
        "faster-whisper:small, deepgram:nova-3 or openai:whisper-1@http://localhost:8000/v1.",
    ),
]
HypothesesFile = Annotated[
    str | None,
    option(
        "--hypotheses",
        metavar="FILE",
        help="Score transcripts that exist already: JSONL, CTM, trn, Kaldi text, a line for each reference, or the "
        "rows of an evaluation; 'source' for those that SOURCE's own rows hold (leaderboard files).",
    ),
]
MissingAs = Annotated[
    str, option("--missing", metavar="NAME", help="A reference without hypothesis: error (not scored) or deletions.")
]
ProtocolName = Annotated[
    str,
    option(
        "--protocol",
        metavar="NAME",
        help="How words are counted: plain (as jiwer), or open-asr (the leaderboard's: compounds may be split).",
    ),
]
ReportFile = Annotated[
    Path | None, option("--report", metavar="FILE.html", help="Write a page with the errors, their kinds and sounds.")
]
Normalizer = Annotated[
    str,
    option(
        "--normalizer",
        metavar="NAME",
        help="auto (english for English, else marks), english, digits, marks, basic, cased or none. digits is english "
        "with numbers compared digit by digit: '3 1 4', '314' and 'three one four' are equal.",
    ),
]
Language = Annotated[
    str | None,
    option("--language", metavar="CODE", help="Of all utterances. By default each row's own, else detected."),
]
Output = Annotated[
    Path | None,
    option(
        "--output",
        verb="evaluate",
        metavar="FILE",
        help="File for a JSON line for each utterance, written when it is done; a second run with the same file goes "
        "on where the first one ended. In a folder: MANIFEST's name with .evaluation.jsonl.",
    ),
]
Limit = Annotated[int | None, option("--limit", help="Only the first utterances with a text.", min=1, metavar="N")]
Restart = Annotated[bool, option("--restart", help="Drop the rows that an earlier run left in --output.")]
AsJson = Annotated[bool, option("--json", help="Print the result as JSON.")]


@app.command()
def run(
    source: Source_ = None,
    suite: SuiteName = None,
    model: Model = None,
    hypotheses: HypothesesFile = None,
    missing: MissingAs = "error",
    language: Language = None,
    normalizer: Normalizer = "auto",
    protocol: ProtocolName = "plain",
    output: Output = None,
    report: ReportFile = None,
    restart: Restart = False,
    limit: Limit = None,
    as_json: AsJson = False,
    prompt: shared.Prompt = None,
    timestamps: shared.Timestamps = True,
    device: shared.Device = "auto",
    engine: shared.Engine = "auto",
    compute_type: shared.ComputeType = "auto",
    dtype: shared.DType = "auto",
    threads: shared.Threads = None,
    long_form: shared.LongForm = None,
    vad: shared.Vad = True,
    batch_size: shared.BatchSize = 1,
    beam_size: shared.BeamSize = 1,
    max_new_tokens: shared.MaxNewTokens = None,
    temperature: shared.Temperature = "0,0.2,0.4,0.6,0.8,1",
    seed: shared.Seed = 0,
    channel: shared.Channel = "mix",
    offline: shared.Offline = False,
    progress: shared.ProgressKind = "auto",
    verbose: shared.Verbose = False,
) -> None:
    """Score a model, another system, or transcripts that exist already.

    The corpus word error rate (errors summed over reference words summed) with its 95 % interval, the character error
    rate, and RTFx. What cannot be scored is listed and left out, and the exit status is 1.
    """
    from linnet.decoding.options import DecodingOptions

    with traced(verbose), stoppable():
        decoding = DecodingOptions(
            language=language,
            prompt=prompt,
            timestamps=timestamps,
            beam_size=beam_size,
            max_new_tokens=max_new_tokens,
            temperatures=numbers(temperature, "temperature"),
            long_form=long_form,  # type: ignore[arg-type]  # checked by DecodingOptions
            vad=vad,
            seed=seed,
        )
        scoring = Scoring(normalizer, protocol, decoding, batch_size=batch_size, channel=channel)
        files = Files(output, report, restart=restart, limit=limit)
        with make_reporter(progress) as reporter, listening(reporter):
            system: System
            if hypotheses is None:
                system = Recognised(ModelChoice(model, device, dtype, offline, engine, compute_type, threads), reporter)
            else:
                system = Given(hypotheses, missing, reporter)
            job = Job(system, scoring, reporter)
            if suite is not None:
                failed = _suite(job, suite, source, files, as_json=as_json)
            else:
                failed = _one(job, source, files, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _one(job: Job, name: str | None, files: Files, *, as_json: bool) -> bool:
    from linnet.data.sources import open_source

    if name is None:
        raise OptionError("nothing to score: name a manifest or another source, or a --suite")
    source = open_source(name)
    summary = job.run(source, files.in_folder(Path(name).stem))
    if as_json:
        print_result(json.dumps(summary.to_dict(), ensure_ascii=False, indent=2) + "\n")
    else:
        _print_table(summary.lines())
    return bool(summary.failed or source.report.bad)


def _suite(job: Job, name: str, source: str | None, files: Files, *, as_json: bool) -> bool:
    from linnet.data.suites import open_sets, read_suite
    from linnet.evaluation.suite import SetResult, averages, suite_rows

    if source is not None:
        raise OptionError(f"give a source ({source}) or a suite ({name}), not both")
    if files.rows is not None and not files.rows.is_dir():
        raise OptionError(f"--output {files.rows}: with --suite it must be a folder that is there")
    if files.report is not None:
        raise OptionError("--report is of one set: make it from a set's file of rows, with --hypotheses")
    results = []
    for opened in open_sets(read_suite(name)):
        job.reporter.notice(f"set {opened.set.name}")
        result = SetResult(opened.set, reason=str(opened.error))
        if opened.source is not None:
            try:
                result = SetResult(opened.set, job.of(opened.set).run(opened.source, files.in_folder(opened.set.name)))
            except LinnetError as error:
                result = SetResult(opened.set, reason=str(error))
        if result.reason is not None:
            job.reporter.notice(f"set {opened.set.name}: left out: {result.reason}")
        results.append(result)
    if as_json:
        data = {"sets": [one.to_dict() for one in results], "averages": [asdict(one) for one in averages(results)]}
        print_result(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
    else:
        _print_table(suite_rows(results))
    return any(one.summary is None or one.summary.failed for one in results)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


app.command()(compare)
app.command()(contamination)
