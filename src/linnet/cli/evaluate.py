"""`linnet evaluate`: score and compare recognizers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli import evaluate_stream as live
from linnet.cli import options as shared
from linnet.cli.compare import compare, contamination
from linnet.cli.console import FileResult, Reporter, listening, make_reporter, print_result, traced
from linnet.cli.default_command import WithDefault
from linnet.cli.options import ModelChoice, option, transcription_options
from linnet.cli.processes import exit_status, stoppable
from linnet.errors import OptionError
from linnet.urls import public_name

if TYPE_CHECKING:
    from linnet.evaluation.job import EvaluationJob, Files
    from linnet.evaluation.log import ScoredRow
    from linnet.evaluation.systems import System
    from linnet.notices import Notify

app = typer.Typer(cls=WithDefault, help="Score recognizers, compare them, and find test data in training data.")

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
        help="Score all sets of a suite instead of SOURCE: open-asr, open-asr:TABLE, or a YAML file; --output names a "
        "folder.",
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
        help="Score existing transcripts: JSONL, CTM, trn, Kaldi text, one line per reference, or the "
        "rows of an evaluation; 'source' for those that SOURCE's own rows hold (leaderboard files).",
    ),
]
MissingAs = Annotated[
    str,
    option(
        "--missing", metavar="NAME", help="Count a reference without hypothesis as error (not scored) or deletions."
    ),
]
ProtocolName = Annotated[
    str,
    option(
        "--protocol",
        metavar="NAME",
        help="Word counting: plain (as jiwer), or open-asr (the leaderboard's: compounds may be split).",
    ),
]
ReportFile = Annotated[
    Path | None, option("--report", metavar="FILE.html", help="Write an HTML report of the errors, with audio.")
]
Normalizer = Annotated[
    str,
    option(
        "--normalizer",
        metavar="NAME",
        help="auto (english for English, else unicode), english, digits, unicode, basic, cased or none. digits is "
        "english with numbers compared digit by digit: '3 1 4', '314' and 'three one four' are equal.",
    ),
]
Language = Annotated[
    str | None,
    option("--language", metavar="CODE", help="Language of all utterances. Default: the row's own, else detected."),
]
Output = Annotated[
    Path | None,
    option(
        "--output",
        verb="evaluate",
        metavar="FILE",
        help="Write one JSON line per utterance as it finishes; a second run with the same file "
        "resumes. In a folder: MANIFEST's name with .evaluation.jsonl.",
    ),
]
Limit = Annotated[
    int | None, option("--limit", help="Score only the first N utterances with a reference.", min=1, metavar="N")
]
Restart = Annotated[bool, option("--restart", help="Discard rows from an earlier run in --output.")]
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
    streaming: live.Streaming = False,
    policy: live.Policy = None,
    delay: live.Delay = None,
    step: live.Step = None,
    chunk: live.Chunk = None,
    block: live.Block = None,
    align: live.Align = False,
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
    """Score a model, another system, or existing transcripts.

    The corpus word error rate (errors summed over reference words summed) with its 95 % interval, the character error
    rate, and RTFx. If something cannot be scored, it is listed and skipped, and the exit status is 1.
    """
    given = locals()
    from linnet.evaluation.job import EvaluationJob, Files, Scoring
    from linnet.evaluation.systems import ExistingHypotheses, ModelSystem

    with traced(verbose), stoppable():
        scoring = Scoring(normalizer, protocol, transcription_options(given), batch_size=batch_size, channel=channel)
        files = Files(output, report, restart=restart, limit=limit)
        request = live.StreamRequest(streaming, policy, delay, step, chunk, block, align)
        request.check(hypotheses=hypotheses, model=model)
        with make_reporter(progress) as reporter, listening(reporter):
            system: System
            choice = ModelChoice.of(given)
            if streaming:
                options = request.options(prompt=prompt, beam_size=beam_size)
                system = request.system(choice, options, reporter.notice)
            elif hypotheses is None:
                system = ModelSystem(lambda: _load(choice, reporter.notice))
            else:
                system = ExistingHypotheses(hypotheses, missing, reporter.notice)
            failed = _score(EvaluationJob(system, scoring, _Watch(reporter)), source, suite, files, as_json=as_json)
    if failed:
        raise typer.Exit(1)


class _Watch:
    """Reports the progress of an evaluation."""

    def __init__(self, reporter: Reporter) -> None:
        self.notice, self.begin, self.progress = reporter.notice, reporter.begin, reporter.progress
        self._reporter = reporter

    def finished(self, row: ScoredRow) -> None:
        """Report a finished utterance."""
        status = "failed" if row.error else "done"
        self._reporter.finished(FileResult(public_name(row.audio), status, row.duration, row.seconds, row.error))


def _load(choice: ModelChoice, notify: Notify) -> Any:
    """The model, or the other system that KIND:MODEL names."""
    from linnet.evaluation.providers import ProviderOptions, ProviderRecognizer, names_provider, open_provider

    if choice.name is None or not names_provider(choice.name):
        return choice.load(notify)
    asked = {"device": choice.device, "compute_type": choice.compute_type, "threads": choice.threads}
    given: dict[str, Any] = {key: value for key, value in asked.items() if value not in ("auto", None)}
    return ProviderRecognizer(open_provider(choice.name, ProviderOptions(**given), notify=notify))


def _score(job: EvaluationJob, source: str | None, suite: str | None, files: Files, *, as_json: bool) -> bool:
    """Score and print; returns whether something could not be scored."""
    if source is not None and suite is not None:
        raise OptionError(f"give a source ({source}) or a suite ({suite}), not both")
    try:
        if suite is not None:
            return _suite(job, suite, files, as_json=as_json)
        if source is not None:
            return _one(job, source, files, as_json=as_json)
    except KeyboardInterrupt as stop:
        raise typer.Exit(exit_status(stop)) from None
    raise OptionError("nothing to score: name a manifest or another source, or a --suite")


def _one(job: EvaluationJob, name: str, files: Files, *, as_json: bool) -> bool:
    from linnet.data.sources import open_source

    source = open_source(name)
    summary = job.run(source, files.in_folder(Path(name).stem))
    if as_json:
        print_result(json.dumps(summary.to_dict(), ensure_ascii=False, indent=2) + "\n")
    else:
        _print_table(summary.lines())
    return bool(summary.failed or source.report.bad)


def _suite(job: EvaluationJob, name: str, files: Files, *, as_json: bool) -> bool:
    from linnet.evaluation.suite import averages, suite_rows

    results = job.run_suite(name, files)
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
