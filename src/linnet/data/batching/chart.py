"""A small bar chart as SVG, which any browser shows and no library is needed for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_NAMES, _PANEL, _BAR, _GAP, _HEAD = 210, 170, 18, 8, 58
_COLOURS = ("#33658a", "#86bbd8", "#f6ae2d", "#758e4f")


def bars(title: str, names: Sequence[str], columns: Mapping[str, Sequence[float]]) -> str:
    """One panel of horizontal bars for each column, one bar for each name; each panel has its own scale from 0.

    >>> bars("Sizes", ["a"], {"metres": [2.0]}).count("<rect")
    2
    """
    width = _NAMES + _PANEL * len(columns)
    height = _HEAD + (_BAR + _GAP) * len(names)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-size="15">{escape(title)}</text>',
    ]
    for row, name in enumerate(names):
        lines.append(f'<text x="{_NAMES - 10}" y="{_top(row) + 13}" text-anchor="end">{escape(name)}</text>')
    for column, (label, values) in enumerate(columns.items()):
        left = _NAMES + _PANEL * column
        lines.append(f'<text x="{left}" y="{_HEAD - 10}" fill="#555">{escape(label)}</text>')
        most = max([*values, 0.0]) or 1.0
        for row, value in enumerate(values):
            length = (_PANEL - 60) * value / most
            colour = _COLOURS[column % len(_COLOURS)]
            lines.append(f'<rect x="{left}" y="{_top(row)}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
            lines.append(f'<text x="{left + length + 4:.1f}" y="{_top(row) + 13}">{_short(value)}</text>')
    return "\n".join([*lines, "</svg>\n"])


def _top(row: int) -> int:
    return _HEAD + (_BAR + _GAP) * row


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
