"""What the user or a script sees on stderr while a verb works: notices, progress, a closing table."""

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
_MANY = 1000  # recordings, beyond which the bar is drawn not for each but every
_DRAWN_EVERY = 0.05  # seconds


# what a terminal takes for commands, or shows as another text than it is: file names may hold all of it
_UNSAFE = (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: chr(code).encode("unicode_escape").decode() for code in _UNSAFE}


def shown(text: str) -> str:
    """A text as a terminal may get it: control characters, line breaks and turns of direction as escapes.

    >>> shown("a\x1b[31m.wav")
    'a\\\\x1b[31m.wav'
    """
    return text.translate(_ESCAPES)


def notice(text: str) -> None:
    """Tell on stderr what a verb chose or did, or why it failed, where no progress is shown."""
    lines = "\n".join(map(shown, text.split("\n")))
    print(f"linnet: {lines}", file=sys.stderr, flush=True)


def print_trace(error: BaseException) -> None:
    """Say on stderr where an error comes from."""
    for part in traceback.format_exception(error):
        print("\n".join(map(shown, part.split("\n"))), file=sys.stderr, end="", flush=True)


@dataclass(frozen=True)
class FileResult:
    """One recording that is over: seconds of audio, seconds of work, what became of it."""

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
    """Rich on stderr; 100 columns wide where it is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=100)


class Reporter:
    """Says what the user should know and shows no progress: notices, failures, a table at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or plain_console()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def notice(self, text: str) -> None:
        """Something to know: a choice that was made, something left out."""
        self.console.print(f"linnet: {shown(text)}", markup=False, highlight=False, soft_wrap=True)

    def begin(self, files: int) -> None:
        """The work starts, on this number of recordings."""

    def progress(self, progress: Progress) -> None:
        """One recording has come so far."""

    def finished(self, row: FileResult) -> None:
        """One recording is over."""
        if row.error:
            self.notice(_failure(row))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While it is open, stdout may be written to."""
        yield

    def end(self, rows: Sequence[FileResult], seconds: float) -> None:
        """Everything ended after these seconds: a table where there was more than one recording."""
        if len(rows) > 1:
            self.console.print(rows_table(rows, seconds))


class QuietReporter(Reporter):
    """Says what failed, and nothing else."""

    def notice(self, text: str) -> None:
        """Not said."""

    def finished(self, row: FileResult) -> None:
        """Its failure."""
        if row.error:
            super().notice(_failure(row))

    def end(self, rows: Sequence[FileResult], seconds: float) -> None:
        """No table."""


class BarReporter(Reporter):
    """A bar by seconds of audio; the length of recordings not begun is taken to be the mean of those known."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._files = 0
        self._over = 0
        self._position = self._duration = 0.0  # sums of those below, which may be a million
        self._sounds = 0  # how many of those below last at all
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
        """Count it, and name its failure above the bar."""
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
        """Take the bar away while results are printed."""
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
        """`files`: how many recordings."""
        self._line("begin", {"files": files})

    def progress(self, progress: Progress) -> None:
        """`file`, `position` and `duration` (seconds of audio, null where unknown)."""
        data = {"file": progress.source, "position": round(progress.position, 3), "duration": progress.duration}
        self._line("progress", data)

    def finished(self, row: FileResult) -> None:
        """`file`, `status`, `duration`, `seconds` (of work), `error`, `rtfx`."""
        self._line("finished", {**asdict(row), "rtfx": row.rtfx})

    def end(self, rows: Sequence[FileResult], seconds: float) -> None:
        """`files`, how many of each status, `duration` and `seconds` in all."""
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
    """File, audio, time, RTFx and status of each recording, failures last, and the totals."""
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
        heard = row.duration > 0
        cells = (f"{row.duration:.1f}", f"{row.seconds:.2f}", _number(row.rtfx)) if heard else ("", "", "")
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
    """With `verbose`, print where a `LinnetError` comes from before it goes on."""
    try:
        yield
    except LinnetError as error:
        if verbose:
            print_trace(error)
        raise


@contextmanager
def listening(reporter: Reporter) -> Iterator[None]:
    """While it is open, the reporter shows what the log `linnet.audio` receives: the progress of downloads."""

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
    """Write a result to stdout, as UTF-8 whatever the terminal's encoding, at once. Raises `OutputError`."""
    import typer

    try:
        typer.echo(text.encode("utf-8", errors="backslashreplace"), nl=False)
    except BrokenPipeError:
        raise  # the reader has seen enough: click ends the command quietly
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python tries again when it ends, and complains
        raise OutputError(f"standard output: cannot write: {error.strerror}") from error
