"""A bar chart of several metrics side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linnet.pages.pictures import COLORS, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def bars(title: str, names: Sequence[str], columns: Mapping[str, Sequence[float]]) -> Figure:
    """One panel of horizontal bars per column, one bar per name; each panel has its own scale from 0."""
    figure = new_figure(2.4 + 2.2 * len(columns), 0.9 + 0.34 * len(names), title)
    panels: Any = figure.subplots(1, len(columns), squeeze=False)[0]
    for place, (axes, (label, values)) in enumerate(zip(panels, columns.items(), strict=True)):
        plain_axes(axes, label)
        drawn = axes.barh(range(len(names)), values, height=0.7, color=COLORS[place % len(COLORS)])
        axes.bar_label(drawn, [_short(value) for value in values], padding=3, fontsize=9)
        axes.set_xlim(0, 1.3 * (max([*values, 0.0]) or 1.0))
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_yticks(range(len(names)), names if place == 0 else [""] * len(names), parse_math=False)
        axes.tick_params(length=0)
        axes.invert_yaxis()
    return figure


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
