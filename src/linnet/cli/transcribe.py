"""`linnet transcribe`: transcribe one recording or thousands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli import options as shared
from linnet.cli.console import (
    FileResult,
    Reporter,
    listening,
    make_reporter,
    print_result,
    print_trace,
    report_notices,
    shown,
    traced,
)
from linnet.cli.options import ModelChoice, option, subtitle_layout, transcription_options
from linnet.cli.processes import exit_status, stoppable
from linnet.errors import AudioError, OptionError

if TYPE_CHECKING:
    from linnet.transcription.batch import ItemResult, RunOptions
    from linnet.transcription.naming import Item
    from linnet.transcription.recognizer import Recognizer

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT", help="Files, folders, globs, http(s) URLs, or - for stdin.")
]
Task = Annotated[str, option("--task", metavar="NAME", help="Task: transcribe, or translate (into English).")]
Repetition = Annotated[
    str,
    option(
        "--compression-ratio-threshold",
        metavar="X",
        help="Retry at a higher temperature if the compression ratio exceeds X ('none' disables).",
    ),
]
Improbable = Annotated[
    str,
    option(
        "--log-probability-threshold",
        metavar="X",
        help="Retry at a higher temperature if the average log-probability is below X ('none' disables).",
    ),
]
NoSpeech = Annotated[
    str,
    option(
        "--no-speech-threshold",
        metavar="X",
        help="Treat a low-confidence window as silence if P(no speech) exceeds X ('none' disables).",
    ),
]
Condition = Annotated[
    bool,
    option("--condition-on-previous", help="Prompt each window with the text before it."),
]
LengthPenalty = Annotated[float, option("--length-penalty", metavar="X", help="Beam score is divided by length**X.")]
Format = Annotated[
    list[str] | None,
    option(
        "--format",
        "-f",
        metavar="NAME,...",
        help="Output formats, separated by commas: txt (the default), srt, vtt, tsv, json, jsonl.",
    ),
]
Output = Annotated[
    Path | None,
    option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Write one file per recording and format to this folder, created if missing. Without it, a single "
        "recording goes to stdout.",
    ),
]
Paragraphs = Annotated[bool, option("--paragraphs", help="Write txt as paragraphs instead of one line per segment.")]
Beside = Annotated[bool, option("--beside", help="Write each file next to its recording instead of to a folder.")]
SkipExisting = Annotated[
    bool, option("--skip-existing", help="Skip recordings already transcribed with the same model and options.")
]
Show = Annotated[bool, option("--show", help="Also print transcripts to stdout when writing files.")]


def transcribe(
    inputs: Inputs,
    model: shared.Model = None,
    language: shared.Language = None,
    task: Task = "transcribe",
    format: Format = None,
    output: Output = None,
    beside: Beside = False,
    skip_existing: SkipExisting = False,
    show: Show = False,
    prompt: shared.Prompt = None,
    hotwords: shared.Hotwords = None,
    timestamps: shared.Timestamps = True,
    word_timestamps: shared.WordTimestamps = False,
    paragraphs: Paragraphs = False,
    subtitle: shared.Subtitle = False,
    max_line_width: shared.MaxLineWidth = None,
    max_lines: shared.MaxLines = None,
    max_chars_per_second: shared.ReadingSpeed = None,
    device: shared.Device = "auto",
    engine: shared.Engine = "auto",
    compute_type: shared.ComputeType = "auto",
    dtype: shared.DType = "auto",
    threads: shared.Threads = None,
    long_form: shared.LongForm = None,
    vad: shared.Vad = True,
    language_per_segment: shared.LanguagePerSegment = False,
    batch_size: shared.BatchSize = 8,
    beam_size: shared.BeamSize = 1,
    length_penalty: LengthPenalty = 1.0,
    max_new_tokens: shared.MaxNewTokens = None,
    temperature: shared.Temperature = "0,0.2,0.4,0.6,0.8,1",
    compression_ratio_threshold: Repetition = "2.4",
    log_probability_threshold: Improbable = "-1.0",
    no_speech_threshold: NoSpeech = "0.6",
    condition_on_previous: Condition = False,
    seed: shared.Seed = 0,
    channel: shared.Channel = "mix",
    track: shared.Track = None,
    offline: shared.Offline = False,
    progress: shared.ProgressKind = "auto",
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
) -> None:
    """Transcribe speech.

    One recording goes to stdout. With --output or --beside, required for several, each is written to a file as soon as
    it is done, named by the input's stem (by its whole name if two stems are equal). The exit status is 1 if any
    recording failed.
    """
    given = locals()
    from linnet.transcription.batch import RunOptions
    from linnet.transcription.writers import parse_formats

    with traced(verbose), stoppable():
        options = RunOptions(
            formats=parse_formats(format or ["txt"]),
            decoding=transcription_options(given),
            batch_size=batch_size,
            channel=channel,
            track=track,
            skip_existing=skip_existing,
            layout=subtitle_layout(subtitle, max_line_width, max_lines, max_chars_per_second),
            paragraphs=paragraphs,
        )
        command = _Command(ModelChoice.of(given), options, output, beside=beside, show=show, verbose=verbose)
        with make_reporter(progress, quiet=quiet) as reporter, listening(reporter):
            failed = command.run(inputs, reporter)
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Command:
    """One call of `linnet transcribe`; its methods return whether anything failed."""

    model: ModelChoice
    options: RunOptions
    output: Path | None
    beside: bool
    show: bool
    verbose: bool

    def run(self, inputs: Sequence[str], reporter: Reporter) -> bool:
        """Write one recording to stdout, several to files."""
        from linnet.transcription.batch import prepare_folder
        from linnet.transcription.naming import plan_items

        if self.beside and self.output is not None:
            raise OptionError("--beside and --output exclude each other: choose one")
        sources, missing = _expand(inputs)
        items = plan_items(sources, self.options.formats, self.output)
        if self.output is not None:
            prepare_folder(self.output)
        elif not self.beside:
            if len(inputs) > 1 or len(items) > 1 or Path(inputs[0]).is_dir():
                raise OptionError(
                    "several recordings, or a folder of them, need files: give a folder for the transcripts "
                    "with --output, or write each next to its recording with --beside"
                )
            self._to_stdout(items[0], reporter)
            return False
        return self._to_files(items, missing, reporter)

    def _to_stdout(self, item: Item, reporter: Reporter) -> None:
        from linnet.transcription.batch import make_fingerprint
        from linnet.transcription.schedule import Recording

        if len(self.options.formats) > 1:
            raise OptionError("several formats need files: choose one --format, or a folder with --output")
        (name,) = self.options.formats
        recognizer = self.model.load(reporter.notice, late=True)
        reporter.begin(1)
        (result,) = recognizer.transcribe_many(
            [Recording(item.source, self.options.channel, self.options.track)],
            options=self.options.decoding,
            batch_size=self.options.batch_size,
            on_progress=reporter.progress,
        )
        report_notices(result.notices, item.label, reporter)
        if result.transcript is None:
            raise result.error or AssertionError("a result holds a transcript or an error")
        self._report_words(recognizer, reporter)
        fingerprint = make_fingerprint(recognizer, item.source, self.options)
        with reporter.paused():
            print_result(self.options.writer(name, fingerprint).render(result.transcript))
        row = FileResult(item.label, "done", result.duration, result.seconds)
        reporter.finished(row)
        reporter.notice(_measured(row))

    def _to_files(self, items: Sequence[Item], missing: Sequence[FileResult], reporter: Reporter) -> bool:
        from linnet.transcription.batch import run_batch

        rows = list(missing)
        for row in missing:
            reporter.finished(row)
        recognizer = self.model.load(reporter.notice, late=True)
        begun = time.perf_counter()
        reporter.begin(len(items))
        try:
            for finished in run_batch(recognizer, items, self.options, on_progress=reporter.progress):
                rows.append(self._tell(finished, reporter))  # kept when Ctrl-C ends the loop
                if finished.status == "done" and _count(rows, "done") == 1:
                    self._report_words(recognizer, reporter)
        except KeyboardInterrupt as stop:
            done = _count(rows, "done", "skipped")
            reporter.notice(f"stopped: {done} of {len(items)} done; run again with --skip-existing to resume")
            raise typer.Exit(exit_status(stop)) from None
        if len(items) == 1 and rows[-1].status == "done":
            reporter.notice(f"written: {', '.join(str(items[0].target(name)) for name in self.options.formats)}")
        elif len(items) == 1 and rows[-1].status == "skipped":
            reporter.notice(f"skipped: {items[0].target(self.options.formats[0])} already exists")
        if left := _count(rows, "not begun"):
            reporter.notice(
                f"stopped, the disk is full: {left} not begun; free space, then resume with --skip-existing"
            )
        with reporter:  # remove the bar before the table
            pass
        reporter.end(rows, time.perf_counter() - begun - recognizer.loading_seconds)
        return _count(rows, "failed", "not begun") > 0

    def _report_words(self, recognizer: Recognizer, reporter: Reporter) -> None:
        if self.options.decoding.word_timestamps and (notice := recognizer.word_times_notice):
            reporter.notice(f"word times: {notice}")

    def _tell(self, finished: ItemResult, reporter: Reporter) -> FileResult:
        label = finished.item.label
        error = None if finished.error is None else str(finished.error)
        row = FileResult(label, finished.status, finished.duration, finished.seconds, error)
        if self.verbose and finished.error is not None:
            print_trace(finished.error)
        report_notices(finished.notices, label, reporter)
        reporter.finished(row)
        if self.show and finished.transcript is not None:
            with reporter.paused():
                print_result(f"{shown(_measured(row))}\n  {finished.transcript.text or '(no speech)'}\n\n")
        return row


def _expand(inputs: Sequence[str]) -> tuple[list[str], list[FileResult]]:
    """Recordings and invalid inputs; raises the `AudioError` if there are no recordings."""
    from linnet.audio.inputs import expand
    from linnet.urls import public_name

    sources: list[str] = []
    errors: list[tuple[str, AudioError]] = []
    for text in inputs:
        try:
            sources += expand([text])
        except AudioError as error:
            errors.append((text, error))
    if errors and not sources:
        raise AudioError("\n".join(str(error) for _, error in errors)) from errors[0][1]
    return sources, [FileResult(public_name(text), "failed", error=str(error)) for text, error in errors]


def _measured(row: FileResult) -> str:
    speed = "" if row.rtfx is None else f", RTFx {row.rtfx:.1f}"
    return f"{row.file}: {row.duration:.1f} s of audio in {row.seconds:.2f} s{speed}"


def _count(rows: Sequence[FileResult], *statuses: str) -> int:
    return sum(row.status in statuses for row in rows)
