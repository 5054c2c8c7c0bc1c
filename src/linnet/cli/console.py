"""Output on stderr while a command runs: notices, progress, a final table."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from linnet.errors import LinnetError, OptionError, OutputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBar
    from rich.table import Table

    from linnet.transcription.schedule import Progress

PROGRESS_KINDS = ("auto", "bar", "json", "none")
_MANY = 1000  # recordings, above which the bar is redrawn at most every
_DRAWN_EVERY = 0.05  # seconds


# characters in file names that a terminal interprets or displays as something else
_UNSAFE = (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: chr(code).encode("unicode_escape").decode() for code in _UNSAFE}


def shown(text: str) -> str:
    """Make a text safe for a terminal: escape control characters, line breaks and direction marks.

    >>> shown("a\x1b[31m.wav")
    'a\\\\x1b[31m.wav'
    """
    return text.translate(_ESCAPES)


def notice(text: str) -> None:
    """Print a notice to stderr, without progress output."""
    lines = "\n".join(map(shown, text.split("\n")))
    print(f"linnet: {lines}", file=sys.stderr, flush=True)


def print_trace(error: BaseException) -> None:
    """Print the traceback of an error to stderr."""
    for part in traceback.format_exception(error):
        print("\n".join(map(shown, part.split("\n"))), file=sys.stderr, end="", flush=True)


@dataclass(frozen=True)
class FileResult:
    """A finished recording: seconds of audio and of computation, and its status."""

    file: str
    status: str
    duration: float = 0.0
    seconds: float = 0.0
    error: str | None = None

    @property
    def rtfx(self) -> float | None:
        """Seconds of audio per second of work."""
        return self.duration / self.seconds if self.duration > 0 and self.seconds > 0 else None


def plain_console() -> Console:
    """A rich console on stderr, 100 columns wide if it is not a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=100)


class Reporter:
    """Prints notices, failures and a table at the end, without progress."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or plain_console()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""

    def notice(self, text: str) -> None:
        """Report a choice that was made, or something skipped."""
        self.console.print(f"linnet: {shown(text)}", markup=False, highlight=False, soft_wrap=True)

    def begin(self, files: int) -> None:
        """Begin the work on `files` recordings."""

    def progress(self, progress: Progress) -> None:
        """Report progress within one recording."""

    def finished(self, row: FileResult) -> None:
        """Report a finished recording."""
        if row.error:
            self.notice(_failure(row))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause progress output while stdout is written."""
        yield

    def end(self, rows: Sequence[FileResult], seconds: float) -> None:
        """End the work: print a table for more than one recording."""
        if len(rows) > 1:
            self.console.print(rows_table(rows, seconds))


def report_notices(notices: Sequence[str], label: str, reporter: Reporter) -> None:
    """Report the notices on one recording."""
    for text in notices:
        reporter.notice(f"{label}: {text}")


class QuietReporter(Reporter):
    """Prints failures only."""

    def notice(self, text: str) -> None:
        """Print nothing."""

    def finished(self, row: FileResult) -> None:
        """Print its failure."""
        if row.error:
            super().notice(_failure(row))

    def end(self, rows: Sequence[FileResult], seconds: float) -> None:
        """Print no table."""


class BarReporter(Reporter):
    """A progress bar in seconds of audio; recordings not started are estimated by the mean length."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._files = 0
        self._over = 0
        self._position = self._duration = 0.0  # sums of those below: there may be a million
        self._sounds = 0  # how many of those below have a duration
        self._positions: dict[str, float] = {}
        self._durations: dict[str, float] = {}
        self._drawn = 0.0
        self.bar: RichBar | None = None

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()

    def begin(self, files: int) -> None:
        """Draw the bar."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._files, self._over = files, 0
        title = TextColumn("{task.description}", markup=False)
        columns = (title, BarColumn(), TextColumn("{task.fields[audio]}"))
        self.bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            redirect_stdout=False,  # results belong on stdout
            redirect_stderr=False,
        )
        self.bar.add_task(self._title(""), total=None, audio="")
        self.bar.start()

    def _title(self, file: str) -> str:
        name = shown(file)[-40:]
        return f"{self._over}/{self._files} {name}" if self._files > 1 else name

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        self._come(progress.source, progress.position, progress.duration or None)

    def finished(self, row: FileResult) -> None:
        """Count it, and print its failure above the bar."""
        super().finished(row)
        self._over += 1
        self._come(row.file, row.duration, row.duration)

    def _come(self, file: str, position: float, duration: float | None) -> None:
        self._position += position - self._positions.get(file, 0.0)
        self._positions[file] = position
        if duration is not None:
            old = self._durations.get(file, 0.0)
            self._duration += duration - old
            self._sounds += (duration > 0) - (old > 0)
            self._durations[file] = duration
        if self.bar is not None and (self._files <= _MANY or time.monotonic() - self._drawn >= _DRAWN_EVERY):
            self._drawn = time.monotonic()
            self._draw(self.bar, file)

    def _draw(self, bar: RichBar, file: str) -> None:
        unknown = max(0, self._files - len(self._durations))
        position, sounds = self._position, self._sounds
        total = self._duration * (1 + unknown / sounds) if sounds else None
        audio = clock(position) if total is None else f"{clock(position)} of {clock(total)}"
        bar.update(bar.task_ids[0], description=self._title(file), total=total, completed=position, audio=audio)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the bar while results are printed."""
        if self.bar is None or not sys.stdout.isatty():
            yield
            return
        self.bar.stop()
        yield
        self.bar.start()


class JsonReporter(Reporter):
    """One JSON object a line: `{"event": "notice" | "begin" | "progress" | "finished" | "end", ...}`; no table."""

    def _line(self, event: str, data: dict[str, Any]) -> None:
        print(json.dumps({"event": event, **data}), file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """`message`."""
        self._line("notice", {"message": text})

    def begin(self, files: int) -> None:
        """`files`: the number of recordings."""
        self._line("begin", {"files": files})

    def progress(self, progress: Progress) -> None:
        """`file`, `position` and `duration` (seconds of audio, null if unknown)."""
        data = {"file": progress.source, "position": round(progress.position, 3), "duration": progress.duration}
        self._line("progress", data)

    def finished(self, row: FileResult) -> None:
        """`file`, `status`, `duration`, `seconds` (of computation), `error`, `rtfx`."""
        self._line("finished", {**asdict(row), "rtfx": row.rtfx})

    def end(self, rows: Sequence[FileResult], seconds: float) -> None:
        """`files`, the number of each status, total `duration` and `seconds`."""
        counts = {status.replace(" ", "_"): count for status, count in _counts(rows).items()}
        duration = round(sum(row.duration for row in rows), 3)
        self._line("end", {"files": len(rows), **counts, "duration": duration, "seconds": round(seconds, 3)})


def _failure(row: FileResult) -> str:
    error = row.error or ""
    return error if row.file in error else f"{row.file}: {error}"


def make_reporter(kind: str, *, quiet: bool = False) -> Reporter:
    """A reporter for `--progress`: auto is a bar on a terminal and none elsewhere. Raises `OptionError`."""
    if kind not in PROGRESS_KINDS:
        raise OptionError(f"progress {kind!r} is unknown: use {', '.join(PROGRESS_KINDS)}")
    if quiet and kind in ("bar", "json"):
        raise OptionError(f"quiet shows no progress: leave out --quiet, or --progress {kind}")
    if quiet:
        return QuietReporter(plain_console())
    if kind == "json":
        return JsonReporter()
    console = plain_console()
    return BarReporter(console) if kind == "bar" or (kind == "auto" and console.is_terminal) else Reporter(console)


def rows_table(rows: Sequence[FileResult], seconds: float) -> Table:
    """A table of file, audio, time, RTFx and status, failures last, with totals."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_footer=True, box=None, pad_edge=False)
    duration = sum(row.duration for row in rows)
    total = FileResult("", "", duration, seconds)
    table.add_column("file", f"{len(rows)} files", overflow="fold")
    table.add_column("audio (s)", f"{duration:.1f}", justify="right")
    table.add_column("time (s)", f"{seconds:.2f}", justify="right")
    table.add_column("RTFx", _number(total.rtfx), justify="right")
    table.add_column("status", ", ".join(f"{count} {status}" for status, count in _counts(rows).items()))
    for row in sorted(rows, key=lambda row: row.error is not None):
        timed = row.duration > 0
        cells = (f"{row.duration:.1f}", f"{row.seconds:.2f}", _number(row.rtfx)) if timed else ("", "", "")
        table.add_row(Text(shown(row.file)), *cells, row.status, style="red" if row.error else None)
    return table


def _counts(rows: Sequence[FileResult]) -> dict[str, int]:
    return dict(Counter(row.status for row in rows))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def clock(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`.

    >>> clock(3723.4)
    '1:02:03'
    """
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


@contextmanager
def traced(verbose: bool) -> Iterator[None]:
    """With `verbose`, print the traceback of a `LinnetError` before it is raised on."""
    try:
        yield
    except LinnetError as error:
        if verbose:
            print_trace(error)
        raise


@contextmanager
def listening(reporter: Reporter) -> Iterator[None]:
    """Show messages of the log `linnet.audio`, such as download progress, through the reporter."""

    class Notices(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reporter.notice(record.getMessage())

    log, handler = logging.getLogger("linnet.audio"), Notices()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def print_result(text: str) -> None:
    """Write a result to stdout immediately, as UTF-8 regardless of the terminal's encoding. Raises `OutputError`."""
    import typer

    try:
        typer.echo(text.encode("utf-8", errors="backslashreplace"), nl=False)
    except BrokenPipeError:
        raise  # the reader has closed the pipe: click exits quietly
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python flushes again at exit and complains
        raise OutputError(f"standard output: cannot write: {error.strerror}") from error
