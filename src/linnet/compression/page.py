"""A self-contained HTML page of a compression: sizes, ranks, spectra, errors and times before and after.

The page is `page/compress.html` with `page/compress.css`, on the base of `linnet.pages`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from linnet.compression.allocation import STEP
from linnet.compression.job import LayerReport
from linnet.compression.report import Account, figures
from linnet.files import write_atomic
from linnet.pages.charts import LineChart, line_chart
from linnet.pages.page import render_page


@dataclass(frozen=True)
class Group:
    """The layers of one kind (`q_proj`, `fc1`) through the depth of the encoder: their spectra and ranks."""

    name: str
    layers: tuple[LayerReport, ...]
    spectrum: LineChart
    ranks: LineChart


def write_page(path: str | os.PathLike[str], account: Account) -> None:
    """Write the page atomically. Raises `OutputError` if it cannot be written."""
    write_atomic(path, render(account))


def render(account: Account) -> str:
    """The page as HTML."""
    made = account.made
    values = {
        "title": f"{account.model}, compressed",
        "made": made,
        "facts": account,
        "figures": figures(account),
        "groups": group_layers(made.reports),
        "factored": sum(one.rank is not None for one in made.reports),
        "curve": _curve_chart(account),
    }
    return render_page("linnet.compression", "compress", values)


def group_layers(reports: Sequence[LayerReport]) -> list[Group]:
    """Group layers by the last part of their names, in order."""
    kinds: dict[str, list[LayerReport]] = {}
    for one in reports:
        kinds.setdefault(one.name.rpartition(".")[2], []).append(one)
    return [Group(name, tuple(layers), _spectra(name, layers), _ranks(name, layers)) for name, layers in kinds.items()]


def _spectra(name: str, layers: Sequence[LayerReport]) -> LineChart:
    """The kept energy by rank, for the first, the middle and the last layer."""
    chosen = sorted({0, len(layers) // 2, len(layers) - 1})
    lines = {f"layer {index}": _kept(layers[index].spectrum) for index in chosen}
    return line_chart(f"{name}: energy kept by rank", lines, label_x="rank", label_y="share of the energy")


def _kept(spectrum: Sequence[float]) -> list[tuple[float, float]]:
    """The kept share of the energy at each rank of the spectrum."""
    return [(float(STEP * index), 1.0 - left) for index, left in enumerate(spectrum)]


def _ranks(name: str, layers: Sequence[LayerReport]) -> LineChart:
    """Ranks by depth; the full width for dense layers."""
    full = [(float(index), float(min(one.inputs, one.outputs))) for index, one in enumerate(layers)]
    made = [(x, float(one.rank) if one.rank is not None else y) for one, (x, y) in zip(layers, full, strict=True)]
    return line_chart(f"{name}: rank by layer", {"rank": made, "full": full}, label_x="layer", label_y="rank")


def _curve_chart(account: Account) -> LineChart | None:
    lines = {name: [(one.share, one.divergence) for one in points] for name, points in account.curve.items() if points}
    if not lines:
        return None
    lines["this model"] = [(account.made.share, 0.0), (account.made.share, account.divergence)]
    title = "Divergence from the dense model by size"
    return line_chart(title, lines, label_x="share of the encoder's parameters", label_y="KL, nats per prediction")
