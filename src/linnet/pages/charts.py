"""Line charts as coordinates for the macro `line_chart` of `parts.html`, which draws SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 20, 40  # margins


@dataclass(frozen=True)
class Tick:
    """A position on an axis and its number."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A named line as the points of an SVG polyline."""

    name: str
    points: str


@dataclass(frozen=True)
class LineChart:
    """A chart in units of its view box, with the origin at the top left."""

    title: str
    lines: tuple[Line, ...]
    ticks_x: tuple[Tick, ...]
    ticks_y: tuple[Tick, ...]
    label_x: str
    label_y: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


def line_chart(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, label_x: str = "", label_y: str = ""
) -> LineChart:
    """A chart of points (x, y) by line names; points that are not finite are omitted."""
    kept = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for name, points in series.items()
    }
    across = _axis([x for points in kept.values() for x, _ in points], _LEFT, WIDTH - _RIGHT)
    up = _axis([y for points in kept.values() for _, y in points], HEIGHT - _BOTTOM, _TOP)
    lines = tuple(
        Line(name, " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in points))
        for name, points in kept.items()
    )
    return LineChart(title, lines, across.ticks(), up.ticks(), label_x, label_y)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    step: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> tuple[Tick, ...]:
        values = [self.low + self.step * number for number in range(round((self.high - self.low) / self.step) + 1)]
        return tuple(Tick(round(self.place(value), 1), f"{value:.6g}") for value in values)


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    """An axis with round ends around these values and 3 to 11 ticks."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = high - low or abs(low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = power * max(factor for factor in (1, 2, 5) if factor * power <= span / 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return _Axis(first * step, max(last, first + 1) * step, step, start, end)
