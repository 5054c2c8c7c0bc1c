"""The curves of a run as SVG, which any browser shows and no library is needed for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from linnet.errors import OptionError

CURVES = {
    "loss": "loss per token",
    "wer": "word error rate",
    "rate": "learning rate",
    "norm": "norm of the gradient",
    "audio_padding": "share of padding in the audio",
    "tokens_per_second": "tokens per second",
}
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 420, 150, 60, 46, 50
_COLUMNS = 2


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's `log.jsonl` by step; a last line that a kill cut short is passed over.

    Raises:
        OptionError: there is no log, or a line of it is no JSON object with a step.
    """
    path = folder / "log.jsonl" if folder.is_dir() else folder
    rows: dict[int, dict[str, Any]] = {}
    number = 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            number += 1
            if line.endswith("\n"):
                row = json.loads(line)
                rows[int(row["step"])] = row
    except OSError as error:
        raise OptionError(f"{path}: cannot read the log of a run: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(f"{path}, line {number}: not a row of a run's log: {error}.") from error
    return [rows[step] for step in sorted(rows)]


def draw_curves(rows: Sequence[dict[str, Any]], title: str) -> str:
    """One panel for each figure of `CURVES` that the rows have, over the steps.

    >>> draw_curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], "run").count("<polyline")
    1
    """
    found = {key: points for key in CURVES if (points := _points(rows, key))}
    lines = -(-max(len(found), 1) // _COLUMNS)
    width, height = _COLUMNS * (_LEFT + _WIDTH) + 20, _TOP + lines * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="15">{escape(title)}</text>',
    ]
    for place, (key, points) in enumerate(found.items()):
        row, column = divmod(place, _COLUMNS)
        parts += _panel(CURVES[key], points, _LEFT + column * (_LEFT + _WIDTH), _TOP + row * (_HEIGHT + _GAP))
    return "\n".join([*parts, "</svg>\n"])


def _points(rows: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    found = [(float(row["step"]), row[key]) for row in rows if isinstance(row.get(key), int | float)]
    return [(step, float(value)) for step, value in found if math.isfinite(value)]


def _panel(label: str, points: Sequence[tuple[float, float]], left: int, top: int) -> list[str]:
    """A frame with its label, the least and the greatest value, and the curve; a lone point is a dot."""
    steps, values = [point[0] for point in points], [point[1] for point in points]
    low, high = min(values), max(values)
    wide, tall = (max(steps) - min(steps)) or 1.0, (high - low) or 1.0
    places = [
        (left + _WIDTH * (step - min(steps)) / wide, top + _HEIGHT * (1 - (value - low) / tall))
        for step, value in points
    ]
    curve = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    x, y = places[-1]
    return [
        f'<text x="{left}" y="{top - 6}" fill="#555">{escape(label)}</text>',
        f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#ccc"/>',
        f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{left - 6}" y="{top + _HEIGHT}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{left}" y="{top + _HEIGHT + 15}">{min(steps):.0f}</text>',
        f'<text x="{left + _WIDTH}" y="{top + _HEIGHT + 15}" text-anchor="end">{max(steps):.0f}</text>',
        f'<polyline points="{curve}" fill="none" stroke="#33658a" stroke-width="1.5"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#33658a"/>',
    ]
