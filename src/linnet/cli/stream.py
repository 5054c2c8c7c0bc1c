"""`linnet stream`: live speech to text from a microphone, a pipe or a recording."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli import options as shared
from linnet.cli.console import Reporter, listening, make_reporter, notice, print_result, report_notices, traced
from linnet.cli.options import ModelChoice, option
from linnet.cli.processes import stoppable
from linnet.errors import AudioError, OptionError, OutputError

if TYPE_CHECKING:
    from linnet.cli.stream_output import Output
    from linnet.streaming.events import Stats
    from linnet.streaming.live import Source
    from linnet.streaming.options import StreamOptions
    from linnet.streaming.protocol import StreamingModel

FORMATS = ("text", "jsonl", "srt", "vtt")
RATE = 16_000  # of raw samples on stdin

Input = Annotated[
    str | None,
    typer.Argument(metavar="INPUT", help="A recording (file or URL), or - for raw 16-bit mono samples on stdin."),
]
Mic = Annotated[bool, typer.Option("--mic", help="Transcribe the microphone until Ctrl-C.")]
InputDevice = Annotated[
    str | None,
    option("--mic-device", metavar="NAME", help="Microphone number, or part of its name. Default: the system default."),
]
Simulate = Annotated[bool, typer.Option("--simulate", help="Play a recording in real time.")]
Speed = Annotated[
    float | None,
    typer.Option("--speed", metavar="X", min=0.0, help="Play a recording at X times real time; 0: unthrottled."),
]
Rate = Annotated[
    int | None,
    option("--rate", metavar="HZ", help=f"Sample rate of raw samples on stdin. Default: {RATE}.", verb="stream"),
]
Policy = Annotated[
    str,
    option(
        "--policy",
        metavar="NAME",
        help="When words become final: commit, hold-N, local-agreement-N, or emit-all (at pauses only).",
    ),
]
Delay = Annotated[
    float | None,
    option("--delay", metavar="SECONDS", min=0.0, help="Audio required after a word before it is final."),
]
Step = Annotated[float | None, option("--step", metavar="SECONDS", help="New audio between decodes.")]
Threshold = Annotated[
    float | None,
    option(
        "--threshold",
        metavar="P",
        help="Minimum token probability for a word to be final after one hypothesis.",
        verb="stream",
    ),
]
Block = Annotated[
    float | None, option("--block", metavar="SECONDS", help="Audio encoded at a time (causal models only).")
]
Format = Annotated[
    str,
    option("--format", "-f", metavar="NAME", help=f"Output: {', '.join(FORMATS)}.", verb="stream"),
]
Output_ = Annotated[
    Path | None,
    option("--output", "-o", metavar="FILE", help="Write to this file instead of stdout.", verb="stream"),
]
ShowStats = Annotated[bool, typer.Option("--stats", help="Print real-time statistics to stderr at the end.")]


def stream(
    source: Input = None,
    mic: Mic = False,
    mic_device: InputDevice = None,
    simulate: Simulate = False,
    speed: Speed = None,
    rate: Rate = None,
    model: shared.Model = None,
    language: shared.Language = None,
    prompt: shared.Prompt = None,
    policy: Policy = "commit",
    delay: Delay = None,
    step: Step = None,
    threshold: Threshold = None,
    block: Block = None,
    beam_size: shared.BeamSize = 1,
    format: Format = "text",
    output: Output_ = None,
    stats: ShowStats = False,
    device: shared.Device = "auto",
    engine: shared.Engine = "auto",
    compute_type: shared.ComputeType = "auto",
    threads: shared.Threads = None,
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
) -> None:
    """Transcribe live speech as it is spoken; a final word never changes.

    On a terminal, final text is plain and preliminary text dim. Otherwise final text is written as it arrives, one line
    per segment of speech; --format jsonl writes every event as one line. Ctrl-C ends the stream and keeps its text.
    """
    with traced(verbose), stoppable():
        given: dict[str, Any] = {"delay": delay, "step": step, "threshold": threshold}
        place = _SourceChoice(source, mic, mic_device, _speed(simulate, speed, source, mic), rate)
        if format not in FORMATS:
            raise OptionError(f"format {format!r} is unknown: use {', '.join(FORMATS)}")
        from linnet.streaming.options import StreamOptions

        options = StreamOptions(
            language=language,
            prompt=prompt,
            policy=policy,
            beam_size=beam_size,
            **{name: value for name, value in given.items() if value is not None},
        )
        choice = ModelChoice(model, device, "auto", offline, engine, compute_type, threads)
        with make_reporter("none", quiet=quiet) as reporter, listening(reporter):
            failed = _Command(choice, options, place, format, output, stats, block).run(reporter)
    if failed:
        raise typer.Exit(1)


def _speed(simulate: bool, speed: float | None, source: str | None, mic: bool) -> float:
    if (simulate or speed is not None) and (mic or source == "-"):
        raise OptionError("--simulate and --speed are for recordings: a microphone and stdin are already live")
    if speed is not None and not math.isfinite(speed):
        raise OptionError(f"--speed must be a finite number, 0 or more, got {speed:g}")
    return speed if speed is not None else float(simulate)


@dataclass(frozen=True)
class _SourceChoice:
    """The audio source named on the command line."""

    source: str | None
    mic: bool
    device: str | None
    speed: float
    rate: int | None

    def __post_init__(self) -> None:
        if self.mic == (self.source is not None):
            raise OptionError("name one source: a recording, - for stdin, or --mic")
        if self.rate is not None:
            from linnet.streaming.samples import check_rate

            check_rate(self.rate)
        if self.source != "-" and self.rate is not None and "LINNET_STREAM_RATE" not in os.environ:
            raise OptionError("--rate is for raw samples on stdin (-): recordings and microphones have their own")
        if not self.mic and self.device is not None and "LINNET_MIC_DEVICE" not in os.environ:
            raise OptionError("--mic-device is for --mic: add it")

    @property
    def name(self) -> str:
        """The source's name in messages."""
        if self.mic:
            return "microphone"
        return "stdin" if self.source == "-" else str(self.source)

    def open(self, stop: threading.Event, stack: ExitStack, reporter: Reporter) -> tuple[Iterable[Any], Source]:
        """Open the source; returns its chunks and how they arrive.

        When the stack is closed, `reporter` receives the notices on a recording. Raises `AudioError`.
        """
        from linnet.audio.source import open_audio
        from linnet.streaming import sources
        from linnet.streaming.live import Source

        if self.mic:
            microphone = stack.enter_context(sources.Microphone(self.device, stop))
            return microphone, Source(microphone.rate, live=True)
        if self.source == "-":
            if sys.stdin is None:
                raise AudioError("stdin is closed: pipe raw 16-bit samples into `linnet stream -`")
            rate = RATE if self.rate is None else self.rate
            return sources.raw(sys.stdin.buffer, rate, stop), Source(rate)
        audio = stack.enter_context(open_audio(self.source or ""))
        stack.callback(lambda: report_notices(audio.notices, self.name, reporter))
        return sources.recording(audio, stop, speed=self.speed), Source(live=self.speed > 0.0)


@dataclass(frozen=True)
class _Command:
    """One call of `linnet stream`."""

    choice: ModelChoice
    options: StreamOptions
    input: _SourceChoice
    format: str
    output: Path | None
    stats: bool
    block: float | None = None

    def run(self, reporter: Reporter) -> bool:
        """Transcribe the source to its end; returns whether anything failed."""
        from linnet.streaming.models import streaming_model

        stop = threading.Event()
        with ExitStack() as stack:
            chunks, source = self.input.open(stop, stack, reporter)
            if self.output is not None:
                _check_output(self.output)
            model = streaming_model(
                self.choice.name,
                beam_size=self.options.beam_size,
                block=self.block,
                notify=reporter.notice,
                **self.choice.keywords,
            )
            outputs = self._outputs(stack)
            with _ctrl_c(stop.set):
                return asyncio.run(self._serve(model, chunks, source, outputs, reporter, stop))

    async def _serve(
        self,
        model: StreamingModel,
        chunks: Iterable[Any],
        source: Source,
        outputs: list[Output],
        reporter: Reporter,
        stop: threading.Event,
    ) -> bool:
        from linnet.streaming.events import Bye, Error, Stats
        from linnet.streaming.events import Warning as StreamWarning
        from linnet.streaming.live import stream as events_of

        failed, latest = False, None
        try:
            async for event in events_of(model, chunks, source=source, options=self.options):
                for output in outputs:
                    output.take(event)
                if isinstance(event, StreamWarning):
                    reporter.notice(event.message)
                if isinstance(event, Error):
                    notice(event.message)  # also with --quiet
                if isinstance(event, Bye) and not (event.time or failed or stop.is_set()):
                    notice(f"{self.input.name}: no audio received")
                    failed = True
                failed = failed or isinstance(event, Error)
                latest = event if isinstance(event, Stats) else latest
        finally:
            for output in outputs:
                output.close()
        if self.stats and latest is not None:
            notice(_kept_up(latest))  # also with --quiet
        return failed

    def _outputs(self, stack: ExitStack) -> list[Output]:
        from linnet.cli.stream_output import Lines, Screen, Text, Whole

        write = print_result if self.output is None else stack.enter_context(_writing(self.output))
        on_screen = sys.stdout.isatty() and (self.output is not None or self.format == "text")
        outputs: list[Output] = []
        if on_screen:
            from rich.console import Console

            outputs.append(Screen(Console(highlight=False)))
        if self.output is not None or not on_screen:
            plain: dict[str, Callable[[], Output]] = {"text": lambda: Text(write), "jsonl": lambda: Lines(write)}
            outputs.append(plain.get(self.format, lambda: Whole(write, self.format))())
        return outputs


def _check_output(path: Path) -> None:
    """Raise `OutputError` before the model is loaded if the file cannot be created."""
    from linnet.files import cannot_write, check_place

    if path.is_dir():
        raise cannot_write(path, IsADirectoryError(errno.EISDIR, "Is a directory"))
    if not path.parent.exists():
        raise cannot_write(path, FileNotFoundError(errno.ENOENT, "No such file or directory"))
    if not path.exists():
        check_place(path)
    elif not os.access(path, os.W_OK):
        raise cannot_write(path, PermissionError(errno.EACCES, "Permission denied"))


@contextmanager
def _writing(path: Path) -> Iterator[Callable[[str], None]]:
    """Write text to a file immediately. Raises `OutputError`."""
    from linnet.files import cannot_write

    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error

    def write(text: str) -> None:
        try:
            file.write(text)
            file.flush()
        except OSError as error:
            raise cannot_write(path, error) from error

    try:
        yield write
        file.close()
    except OutputError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # it would write again what it could not
            file.close()


@contextmanager
def _ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C ends the source, so that the stream can finish; a second one aborts."""

    def handle(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _kept_up(stats: Stats) -> str:
    pace = f", {stats.time / stats.compute:.1f} times real time" if stats.compute else ""
    work = f"{stats.decodes} decodes, {stats.compute:.1f} s of computation"
    return f"{stats.time:.1f} s of audio, {stats.finals} words, {work}{pace}"
