"""A self-contained HTML page of a curation: kept hours, the effect of each gate, and audio examples.

The page is `page/curate.html` with `page/curate.css`, on the base of `linnet.pages`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.audio import SAMPLE_RATE
from linnet.curation.budget import HOUR
from linnet.curation.budgets import covered, other_budgets
from linnet.curation.frontier import frontier
from linnet.curation.items import coverage_items
from linnet.curation.job import Corpus, Curated
from linnet.curation.pool import STRATA, Pool
from linnet.curation.select import ValueOptions, values
from linnet.curation.selection import FATES, REASONS, Selection
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import LinnetError
from linnet.files import write_atomic
from linnet.pages.charts import LineChart, line_chart
from linnet.pages.media import AudioClip, audio_url
from linnet.pages.page import render_page

_SHOWN = 20  # recordings at either end, with audio
_EXAMPLES = 3  # of each gate
_GROUPS = 50  # of each kind
_SECONDS = 15.0  # of audio per example
_BINS = 24


@dataclass(frozen=True)
class Example:
    """A recording on the page."""

    id: str
    text: str | None
    seconds: float
    reason: str
    clip: AudioClip


@dataclass(frozen=True)
class GateRow:
    """The recordings removed by a gate."""

    name: str
    rows: int
    hours: float
    examples: tuple[Example, ...]


def write_page(path: str | os.PathLike[str], corpus: Corpus, curated: Curated) -> None:
    """Write the page atomically. Raises `OutputError` if it cannot be written."""
    write_atomic(path, render(corpus, curated))


def render(corpus: Corpus, curated: Curated) -> str:
    """The page as HTML."""
    selection, pool = curated.selection, curated.pool
    points = (
        other_budgets(pool, corpus.options.select, curated.more_gates) if corpus.options.preset == "balanced" else []
    )
    values: dict[str, Any] = {
        "title": f"{selection.hours:.2f} of {selection.seconds.sum() / HOUR:.2f} hours kept",
        "selection": selection,
        "preset": corpus.options.preset,
        "confounds": confounds(pool, selection, corpus.options.select.value),
        "strata": {kind: rows for kind in STRATA if (rows := _strata(selection, kind))},
        "covered": covered(pool, selection.kept, selection.weights > 0),
        "frontier": points,
        "frontier_chart": _coverage_chart(pool, selection),
        "durations": _durations(selection),
        "scores": [chart for name in pool.scores if not name.endswith("_raw") and (chart := _score(pool, name))],
        "fates": [(REASONS[name], *counts) for name, counts in selection.by_fate().items() if name in FATES],
    }
    with UtteranceReader() as reader:
        show = _Shower(list(corpus.plan.utterances()), selection, reader)
        values["gates"] = _gates(selection, show)
        values["best"], values["worst"] = (show(rows) for rows in _ends(selection))
    return render_page("linnet.curation", "curate", values, media=("media",))


def confounds(pool: Pool, selection: Selection, options: ValueOptions) -> list[tuple[str, float]]:
    """The rank correlation (Spearman) of duration with the value, with each score, and with what a recording adds.

    The value is the mean of the scores that count for the choice. What a recording adds for its cost grows with its
    length where `duration_power` is below 1, as is asked for. NaN values are left out.
    """
    usable = selection.weights > 0
    columns: dict[str, NDArray[Any]] = {"value": values(pool, options)[0]}
    columns |= {name: values for name, values in pool.scores.items() if not name.endswith("_raw")}
    columns["gain for its cost (by duration_power)"] = selection.priorities
    found = [
        (name, spearman(np.asarray(values)[usable], selection.seconds[usable])) for name, values in columns.items()
    ]
    return [(name, value) for name, value in found if np.isfinite(value)]


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """The rank correlation of two columns [N] over rows with both values; NaN for fewer than three."""
    from scipy.stats import spearmanr

    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3 or np.ptp(first[known]) == 0 or np.ptp(second[known]) == 0:
        return float("nan")
    return float(spearmanr(first[known], second[known]).statistic)


def _strata(selection: Selection, kind: str) -> list[tuple[str, float, float, float]]:
    """Name, total, usable and kept hours of each group, the largest first; empty for a single unnamed group."""
    table = selection.by_stratum(kind)
    if set(table) <= {""}:
        return []
    rows = [(name or "(none)", *hours) for name, hours in table.items()]
    return sorted(rows, key=lambda row: -row[1])[:_GROUPS]


def _coverage_chart(pool: Pool, selection: Selection) -> LineChart | None:
    """The coverage by hours, in the order of selection and in the order of the corpus."""
    items = coverage_items(pool, selection.weights > 0)
    kept = np.flatnonzero(selection.kept)
    if not len(kept) or not len(items.weights):
        return None
    taken = kept[np.argsort(selection.ranks[kept], kind="stable")]
    usable = np.flatnonzero(selection.weights > 0)
    shuffled = np.random.default_rng(0).permutation(usable)
    by_chance = shuffled[np.cumsum(selection.seconds[shuffled]) <= selection.hours * HOUR]
    lines = {}
    for name, order in (("as kept", taken), ("by chance", by_chance)):
        found = frontier(items, order, selection.seconds)
        lines[name] = list(zip(found.hours.tolist(), found.kinds.tolist(), strict=True))
    return line_chart("Coverage by hours", lines, label_x="hours", label_y="share of all kinds")


def _durations(selection: Selection) -> LineChart | None:
    seconds = selection.seconds[selection.seconds > 0]
    if not len(seconds):
        return None
    edges = np.geomspace(max(0.1, float(seconds.min())), float(seconds.max()) * 1.001, _BINS + 1)
    middles = np.sqrt(edges[1:] * edges[:-1])
    lines = {}
    for name, chosen in (("all", selection.seconds > 0), ("kept", selection.kept)):
        hours, _ = np.histogram(selection.seconds[chosen], edges, weights=selection.seconds[chosen] / HOUR)
        lines[name] = list(zip(middles.tolist(), hours.tolist(), strict=True))
    return line_chart("Hours by duration", lines, label_x="seconds", label_y="hours")


def _score(pool: Pool, name: str) -> LineChart | None:
    """The distribution of a component, before ranking if known."""
    raw = pool.scores.get(f"{name}_raw", pool.scores[name])
    known = np.asarray(raw, np.float64)[np.isfinite(raw)]
    if len(known) < 2 or np.ptp(known) == 0:
        return None
    low, high = np.quantile(known, [0.005, 0.995])
    counts, edges = np.histogram(known, _BINS, (float(low), float(max(high, low + 1e-9))))
    middles = (edges[1:] + edges[:-1]) / 2
    points = list(zip(middles.tolist(), (counts / len(known)).tolist(), strict=True))
    return line_chart(name, {name: points}, label_x="bits", label_y="share of the recordings")


def _gates(selection: Selection, show: _Shower) -> list[GateRow]:
    found = []
    for name, (rows, hours) in selection.by_fate().items():
        if name not in FATES:
            failed = np.flatnonzero(selection.fates.codes == selection.fates.names.index(name))
            found.append(GateRow(name, rows, hours, tuple(show(failed[:_EXAMPLES].tolist()))))
    return found


def _ends(selection: Selection) -> tuple[list[int], list[int]]:
    """The rows taken first, and the usable ones that would be taken last."""
    kept = np.flatnonzero(selection.kept)
    first = (
        kept[np.argsort(selection.ranks[kept], kind="stable")] if (selection.ranks >= 0).any() else _by(selection, kept)
    )
    left = np.flatnonzero(~selection.kept & (selection.weights > 0))
    return first[:_SHOWN].tolist(), _by(selection, left)[::-1][:_SHOWN].tolist()


def _by(selection: Selection, rows: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = rows[np.argsort(-np.nan_to_num(selection.priorities[rows]), kind="stable")]
    return found


@dataclass(frozen=True)
class _Shower:
    """Makes examples of rows, with the beginning of their audio."""

    utterances: Sequence[Utterance]
    selection: Selection
    reader: UtteranceReader

    def __call__(self, rows: Sequence[int]) -> list[Example]:
        return [self._example(row) for row in rows]

    def _example(self, row: int) -> Example:
        one = self.utterances[row]
        try:
            samples = self.reader.read(one).samples[: round(_SECONDS * SAMPLE_RATE)]
            clip = AudioClip(audio_url(samples, SAMPLE_RATE))
        except LinnetError as error:
            clip = AudioClip(note=f"no sound: {error}")
        selection = self.selection
        return Example(one.id, one.text, float(selection.seconds[row]), str(selection.reasons[row]), clip)
