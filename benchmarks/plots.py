"""Draw the pictures of docs/benchmarks.md and write its tables, both from docs/benchmarks.json.

    python benchmarks/plots.py

A section of the JSON file has the commands that measured it, the names of its columns and its rows. A cell is a text, a
number, or a difference with its 95 % interval (`value`, `low`, `high`). In the page each table stands between
`<!-- table: SECTION -->` and `<!-- end -->`, which is replaced; `machines` are listed the same way. Change a number in
the JSON file, never in the page.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from linnet.pages.pictures import new_figure, plain_axes, save_figure

DOCS = Path(__file__).resolve().parent.parent / "docs"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
OURS, THEIRS = "#0072b2", "#d55e00"
Cell = str | float | dict[str, float]
Row = dict[str, Any]


def read_sections(path: Path = DOCS / "benchmarks.json") -> dict[str, dict[str, Any]]:
    """The sections of the data file by name, the machines among them."""
    data = json.loads(path.read_text(encoding="utf-8"))
    machines = [[letter, words] for letter, words in data["machines"].items()]
    sections: dict[str, dict[str, Any]] = data["sections"]
    return {"machines": {"commands": [], "columns": ["machine", "hardware"], "rows": machines}, **sections}


def rows_of(section: dict[str, Any]) -> list[Row]:
    """The rows of a section, each cell under the name of its column."""
    return [dict(zip(section["columns"], cells, strict=True)) for cells in section["rows"]]


def cell_text(cell: Cell, column: str) -> str:
    """A cell as the table shows it: a difference with its interval, `met` and `missed` in bold."""
    if isinstance(cell, dict):
        return f"{cell['value']:+.2f} ({cell['low']:+.2f} to {cell['high']:+.2f})"
    if isinstance(cell, float) and column in ("times as fast", "Linnet, s", "faster-whisper, s"):
        return f"{cell:.2f}"
    return f"**{cell}**" if cell == "missed" else f"{cell:,}" if isinstance(cell, int) else str(cell)


def table(section: dict[str, Any]) -> str:
    """The commands and the table of a section in Markdown."""
    columns = section["columns"]
    commands = ["```text", *section["commands"], "```", ""] if section["commands"] else []
    head = [*commands, f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    body = [
        f"| {' | '.join(cell_text(cell, column) for cell, column in zip(cells, columns, strict=True))} |"
        for cells in section["rows"]
    ]
    return "\n".join([*head, *body]) + "\n"


def fill_tables(page: str, sections: dict[str, dict[str, Any]]) -> str:
    """The page with every table written anew from the sections."""
    return TABLE.sub(lambda found: found[1] + table(sections[found[2]]) + found[3], page)


def _ratios(axes: Any, title: str, rows: list[tuple[str, float, float]]) -> None:
    """Bars of how many times as fast Linnet is, with a tick at each target."""
    names = [name for name, _, _ in rows]
    axes.barh(names, [ratio for _, ratio, _ in rows], color=OURS, height=0.6)
    for place, (_, ratio, target) in enumerate(rows):
        axes.text(0.08, place, f"{ratio:.2f}", color="white", fontsize=9, fontweight="bold", va="center")
        axes.plot([target, target], [place - 0.4, place + 0.4], color=THEIRS, linewidth=2)
    axes.axvline(1.0, color="#444444", linewidth=1)
    axes.invert_yaxis()
    plain_axes(axes, title)
    axes.grid(visible=False, axis="y")


def draw_speed(sections: dict[str, dict[str, Any]], path: Path) -> None:
    """How many times as fast as each peer: real weights above, the shape of small with random weights below."""
    figure = new_figure(8.4, 5.0, "Linnet beside other runtimes on 2 CPU cores: times as fast")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 7))
    real = [row for row in rows_of(sections["speed_real"]) if row["machine"] == "A"]
    _ratios(
        above,
        "real weights and speech, beside the fastest setting of faster-whisper",
        [(row["model, audio"], row["times as fast"], row["target"]) for row in real],
    )
    small = [row for row in rows_of(sections["speed_shapes"]) if row["shape, beside"].startswith("small")]
    small.sort(key=lambda row: -row["times as fast"])
    _ratios(
        below,
        "shape of small, random weights",
        [(row["shape, beside"].removeprefix("small, "), row["times as fast"], row["target"]) for row in small],
    )
    below.set_xlabel("times as fast (black: equal; orange: target)", fontsize=9)
    save_figure(figure, path)


def _differences(axes: Any, title: str, rows: list[tuple[str, dict[str, float], str]]) -> None:
    """Differences with their intervals, one to a line; a missed target in another color."""
    for place, (_, found, met) in enumerate(rows):
        color = THEIRS if met == "missed" else OURS
        axes.plot([found["low"], found["high"]], [place, place], color=color, linewidth=2)
        axes.plot([found["value"]], [place], "o", color=color, markersize=6)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.axvline(0.0, color="#444444", linewidth=1)
    axes.invert_yaxis()
    plain_axes(axes, title)


def draw_wer(sections: dict[str, dict[str, Any]], path: Path) -> None:
    """Differences in WER: compute types beside f32, and Linnet beside other systems."""
    figure = new_figure(8.4, 5.6, "Differences in word error rate, points, with 95 % intervals")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(8, 9))
    key = "difference to f32, points"
    types = [
        (f"{row['model, speech']}: {row['compute type']}", row[key], row["met?"])
        for row in rows_of(sections["wer_compute"])
    ]
    _differences(above, "compute types beside f32", types)
    key = "Linnet's WER minus theirs, points"
    peers = [
        (f"{row['model, speech']}: {row['beside']}", row[key], row["met?"]) for row in rows_of(sections["wer_peers"])
    ]
    _differences(below, "Linnet (int8, greedy) beside other systems", peers)
    below.set_xlabel("points of WER; right of 0 is worse (orange: target missed)", fontsize=9)
    save_figure(figure, path)


def draw_memory(sections: dict[str, dict[str, Any]], path: Path) -> None:
    """Peak memory of Linnet and of each peer on the same recording, the shape of small."""
    rows = [row for row in rows_of(sections["speed_shapes"]) if row["shape, beside"].startswith("small")]
    names = [row["shape, beside"].removeprefix("small, ") + f", {row['audio']}" for row in rows]
    figure = new_figure(8.4, 4.2, "Peak memory on the same recording, shape of small")
    axes = figure.subplots()
    for shift, column, color, label in ((-0.2, "peak MB", OURS, "Linnet"), (0.2, "its peak MB", THEIRS, "the other")):
        places = [place + shift for place in range(len(rows))]
        bars = axes.barh(places, [row[column] for row in rows], color=color, height=0.38, label=label)
        axes.bar_label(bars, labels=[f"{row[column]:,}" for row in rows], padding=4, fontsize=8)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    plain_axes(axes, "")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("MB", fontsize=9)
    axes.legend(edgecolor="none", fontsize=9, loc="upper right")
    save_figure(figure, path)


def main() -> None:
    """Write the three pictures and the tables."""
    sections = read_sections()
    draw_speed(sections, DOCS / "benchmarks_speed.svg")
    draw_wer(sections, DOCS / "benchmarks_wer.svg")
    draw_memory(sections, DOCS / "benchmarks_memory.svg")
    page = DOCS / "benchmarks.md"
    page.write_text(fill_tables(page.read_text(encoding="utf-8"), sections), encoding="utf-8")


if __name__ == "__main__":
    main()
