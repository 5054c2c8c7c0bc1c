"""The log of a training run on stderr: one updated line on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from linnet.cli.console import clock, plain_console, shown

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]
_FIGURES = {
    "loss": "loss {:.4f}",
    "wer": "WER {:.2f} %",
    "audio_padding": "padding {:.1f} %",
    "tokens_per_second": "{:,.0f} tokens/s",
    "memory_gb": "{:.1f} GB",
}
_EVENTS = {
    "skipped": "{} steps skipped: loss not finite",
    "out_of_memory": "out of memory: {}",
    "left_out": "skipped, cannot be read: {}",
}
_LINE = 100  # columns of the figures; the bar gets the rest, up to
_BAR = 40


def show(rows: Iterable[Row]) -> None:
    """Show rows as they come."""
    console = plain_console()
    if console.is_terminal:
        show_line(rows, console)
        return
    for row in rows:
        print(json.dumps(row), file=sys.stderr, flush=True)


def show_line(rows: Iterable[Row], console: Console) -> None:
    """A line with the latest figures and a running time left; `events` stay on the screen above it."""
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        """Counts down from the value in the latest row."""

        def render(self, task: Task) -> Text:
            """Text such as `1:02:03 left`."""
            until = task.fields["until"]
            return Text("" if until is None else f"{clock(max(0.0, until - time.monotonic()))} left", style="bold")

    whole = Column(no_wrap=True)
    cut = Column(no_wrap=True, overflow="ellipsis")  # on a narrow terminal
    columns = [
        TextColumn("{task.description}", markup=False, table_column=whole),
        TimeLeft(table_column=whole),
        TextColumn("{task.fields[figures]}", markup=False, table_column=cut),
    ]
    if console.width >= _LINE + 8:
        columns.insert(1, BarColumn(bar_width=min(_BAR, console.width - _LINE)))
    known: Row = {}
    # other output on stderr appears above the line; results go to stdout
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=2) as bar:
        task = bar.add_task("preparing", total=None, until=None, figures="")
        for row in rows:
            known |= row
            for line in events(row):
                console.print(shown(line), markup=False, highlight=False)
            until = None if "seconds_left" not in row else time.monotonic() + row["seconds_left"]
            bar.update(
                task,
                description=step_of(row),
                total=row.get("steps"),
                completed=row["step"],
                until=until,
                figures=figures(known),
            )


def step_of(row: Row) -> str:
    """The step and the number of steps.

    >>> step_of({"step": 1200, "steps": 50000})
    'step 1,200/50,000'
    """
    return f"step {row['step']:,}" + (f"/{row['steps']:,}" if "steps" in row else "")


def figures(row: Row) -> str:
    """The main figures of a row.

    >>> figures({"step": 20, "loss": 2.5, "wer": 0.25, "tokens_per_second": None})
    'loss 2.5000  WER 25.00 %'
    """
    there = {key: form for key, form in _FIGURES.items() if row.get(key) is not None}
    return "  ".join(form.format(row[key] * (100 if "%" in form else 1)) for key, form in there.items())


def events(row: Row) -> list[str]:
    """The lasting events of a row: a validation, skipped steps, smaller batches, skipped utterances.

    >>> events({"step": 2000, "loss": 1.0, "wer": 0.031, "best_wer": 0.031, "skipped": 1})
    ['step 2,000: 1 steps skipped: loss not finite', 'step 2,000: WER 3.10 %, the best so far']
    """
    said = []
    for key, form in _EVENTS.items():
        if value := row.get(key):
            said.append(form.format(value if isinstance(value, int) else ", ".join(map(str, value))))
    if row.get("wer") is not None:
        said.append(
            f"WER {100 * row['wer']:.2f} %" + (", the best so far" if row["wer"] == row.get("best_wer") else "")
        )
    return [f"step {row['step']:,}: {what}" for what in said]
