"""Plots of the training curves of one or several runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import OptionError
from linnet.files import whole_lines
from linnet.pages.pictures import COLORS, STYLES, name_lines, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
Points = list[tuple[float, float]]
_PART = "loss_"  # prefix of the parts of the loss
_COLUMNS = 2
_SMOOTH_FROM = 200  # rows of a curve that is smoothed
_SMOOTH = 50  # the running mean spans this fraction of the rows


@dataclass(frozen=True)
class Panel:
    """Log values that share a plot, each with its label; values are multiplied by `scale`.

    `noisy` curves get a running mean. `best` marks the lowest point, on a logarithmic axis if values differ much.
    """

    title: str
    names: Mapping[str, str]
    scale: float = 1.0
    noisy: bool = False
    best: bool = False


PANELS = (
    Panel("training loss, nats per token", {"loss": "all"}, noisy=True),
    Panel("word error rate, %", {"wer": ""}, scale=100, best=True),
    Panel("learning rate", {"rate": ""}),
    Panel("norm of the gradient", {"norm": ""}, noisy=True),
    Panel("padding, %", {"audio_padding": "audio", "text_padding": "text"}, scale=100, noisy=True),
    Panel("label tokens per second", {"tokens_per_second": ""}, noisy=True),
    Panel("time spent waiting for data, %", {"waiting": ""}, scale=100, noisy=True),
    Panel("peak memory, GB", {"memory_gb": ""}),
)


def read_log(folder: Path) -> list[Row]:
    """The rows of a run's `log.jsonl` by step; an incomplete last line is ignored. Raises `OptionError`."""
    path = folder / "log.jsonl" if folder.is_dir() else folder
    rows: dict[int, Row] = {}
    number = 0
    try:
        for line in whole_lines(path):
            number += 1
            row = json.loads(line)
            rows[int(row["step"])] = row
    except OSError as error:
        raise OptionError(f"{path}: cannot read the log of a run: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise OptionError(f"{path}, line {number}: not a row of a run's log: {error}.") from error
    return [rows[step] for step in sorted(rows)]


def draw_curves(runs: Mapping[str, Sequence[Row]]) -> Figure:
    """Plot each of `PANELS` with data over the steps, one color per run, with the parts of the loss."""
    panels = [panel for panel in PANELS if any(points(rows, key) for rows in runs.values() for key in panel.names)]
    lines = max(1, -(-len(panels) // _COLUMNS))
    figure = new_figure(11, 0.8 + 2.3 * lines, next(iter(runs)) if len(runs) == 1 else f"{len(runs)} runs")
    places: Any = figure.subplots(lines, _COLUMNS, squeeze=False).flatten()
    for axes, panel in zip(places, panels, strict=False):
        _draw(axes, panel, runs)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    if len(runs) > 1:
        from matplotlib.lines import Line2D

        swatches = [Line2D([], [], color=_color(place), linewidth=2) for place in range(len(runs))]
        name_lines(figure, swatches, list(runs), loc="outside upper right", ncols=min(4, len(runs)), fontsize=9)
    return figure


def points(rows: Sequence[Row], key: str) -> Points:
    """Steps and finite values of a key."""
    found = [(float(row["step"]), row.get(key)) for row in rows]
    return [(step, float(value)) for step, value in found if isinstance(value, int | float) and math.isfinite(value)]


def _draw(axes: Axes, panel: Panel, runs: Mapping[str, Sequence[Row]]) -> None:
    from matplotlib.lines import Line2D

    plain_axes(axes, panel.title)
    names = dict(panel.names)
    if "loss" in names:
        keys = dict.fromkeys(key for rows in runs.values() for row in rows for key in row)
        names |= {key: key.removeprefix(_PART) for key in keys if key.startswith(_PART)}
    drawn: list[tuple[int, Points]] = []
    for place, rows in enumerate(runs.values()):
        for style, key in zip(_styles(len(names)), names, strict=True):
            found = [(step, value * panel.scale) for step, value in points(rows, key)]
            _curve(axes, found, _color(place), style, noisy=panel.noisy)
            drawn += [(place, found)] if found else []
    _scale(axes, [value for _, found in drawn for _, value in found], logarithmic=panel.best)
    if panel.best:
        _mark(axes, {place: min(found, key=lambda point: point[1]) for place, found in drawn})
    if len(names) > 1:
        styles = [Line2D([], [], color="#444444", linestyle=style) for style in _styles(len(names))]
        name_lines(axes, styles, list(names.values()), fontsize=8, loc="best")


def _scale(axes: Axes, values: Sequence[float], *, logarithmic: bool) -> None:
    """Format the axes; the vertical one starts at 0, or is logarithmic if values differ much."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.set_xlabel("step", fontsize=9, color="#444444")
    if logarithmic and min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.08 * max(values) or 1.0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")


def _curve(axes: Axes, found: Points, color: str, style: str, *, noisy: bool) -> None:
    """Plot a curve, with markers if it is short, or faint under its running mean if it is long and noisy."""
    steps, values = [point[0] for point in found], [point[1] for point in found]
    mark = "o" if len(found) < 12 else ""
    if noisy and len(found) >= _SMOOTH_FROM:
        axes.plot(steps, values, "-", color=color, linewidth=0.8, alpha=0.22)
        values = running_mean(values, len(values) // _SMOOTH)
    axes.plot(steps, values, style, color=color, linewidth=1.6, marker=mark, markersize=3)


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """The mean of each value with up to `reach` neighbors on both sides.

    >>> running_mean([1.0, 2.0, 6.0], 1)
    [1.5, 3.0, 4.0]
    """
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, place - reach), min(len(values), place + reach + 1)) for place in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in spans]


def _mark(axes: Axes, best: Mapping[int, tuple[float, float]]) -> None:
    """Mark the best point of each run with a star, described in the legend."""
    stars = [
        axes.plot([step], [value], "*", color=_color(place), markersize=12, markeredgecolor="white", zorder=5)[0]
        for place, (step, value) in best.items()
    ]
    labels = [f"best {value:.2f} at step {step:,.0f}" for step, value in best.values()]
    name_lines(axes, stars, labels, fontsize=8, loc="best")


def _color(place: int) -> str:
    return COLORS[place % len(COLORS)]


def _styles(count: int) -> list[str]:
    return [STYLES[place % len(STYLES)] for place in range(count)]
