"""The results of an experiment: error rates by method, and differences to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linnet.curation.prove.experiment import Outcome
from linnet.curation.prove.options import METHODS
from linnet.pages.pictures import COLORS, new_figure, plain_axes, save_figure
from linnet.scoring.bootstrap import Ratio
from linnet.scoring.clusters import Floats, ResamplingClusters
from linnet.scoring.significance import holm, runs_difference

_SURE = 0.05
_FEW = 5  # seeds: with fewer, intervals are wide


@dataclass(frozen=True)
class Line:
    """One method at one budget on one test.

    `rates` are the error rates by seed, averaged over draws. `difference` is the method's rate minus that of the
    reference, over common seeds, with an interval over speakers and seeds; `p_value` is adjusted for all methods of the
    table (Holm). Both are None if there is no comparison.
    """

    test: str
    budget: float
    method: str
    rates: tuple[float, ...]
    hours: float
    rows: int
    difference: Ratio | None = None
    p_value: float | None = None

    @property
    def rate(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.rates))

    def verdict(self, against: str) -> str:
        """The supported claim."""
        if self.method == against:
            return ""
        if self.difference is None or self.p_value is None:
            return "too few runs to tell"
        if self.p_value >= _SURE:
            return f"no difference from {against} shown"
        return f"{against} is {'better' if self.difference.value > 0 else 'worse'}"


def lines(outcomes: Sequence[Outcome], against: str) -> list[Line]:
    """A line for each test, budget and method with runs, in the order of `METHODS`."""
    tests = list(dict.fromkeys(name for one in outcomes for name in one.tests))
    budgets = sorted({one.run.budget for one in outcomes})
    found: list[Line] = []
    for test in tests:
        for budget in budgets:
            found += _compared([one for one in outcomes if one.run.budget == budget], test, budget, against)
    return found


def _compared(outcomes: Sequence[Outcome], test: str, budget: float, against: str) -> list[Line]:
    """The lines of one test and budget, each compared with `against`."""
    errors = {name: _by_seed([one for one in outcomes if one.run.method == name], test) for name in METHODS}
    known = next((one.tests[test] for one in outcomes if test in one.tests), None)
    if known is None:
        return []
    words = np.asarray(known.words, np.float64)
    clusters = _clusters(known.speakers)
    made = []
    for name in METHODS:
        own = [one for one in outcomes if one.run.method == name]
        if not errors[name]:
            continue
        rates = tuple(float(each.sum() / words.sum()) for _, each in sorted(errors[name].items()))
        hours = float(np.mean([one.hours for one in own]))
        line = Line(test, budget, name, rates, hours, round(np.mean([one.rows for one in own])))
        shared = sorted(errors[name].keys() & errors[against].keys()) if name != against else []
        if len(shared) > 1:
            apart = np.stack([errors[name][seed] - errors[against][seed] for seed in shared])
            ratio = runs_difference(apart, np.zeros((1, len(words))), words, clusters=clusters)
            line = replace(line, difference=ratio)
        made.append(line)
    tried = [place for place, one in enumerate(made) if one.difference is not None]
    adjusted = holm([one.difference.p_value for one in made if one.difference is not None])
    for place, p_value in zip(tried, adjusted, strict=True):
        made[place] = replace(made[place], p_value=p_value)
    return made


def _by_seed(outcomes: Sequence[Outcome], test: str) -> dict[int, Floats]:
    """Errors of each utterance by seed, averaged over draws."""
    seeds: dict[int, list[Floats]] = {}
    for one in outcomes:
        seeds.setdefault(one.run.seed, []).append(np.asarray(one.tests[test].errors, np.float64))
    return {seed: np.mean(draws, axis=0) for seed, draws in seeds.items()}


def _clusters(speakers: Sequence[str]) -> ResamplingClusters:
    if all(speakers) and len(set(speakers)) > 1:
        return ResamplingClusters.of("speakers", list(speakers))
    return ResamplingClusters.single(len(speakers))


def caption(outcomes: Sequence[Outcome], model: str) -> str:
    """A line that tells what was trained how often: the model, steps, runs, pools and seeds, with a warning of few."""
    runs = [one.run for one in outcomes]
    steps = " or ".join(map(str, sorted({run.steps for run in runs})))
    seeds, pools = len({run.seed for run in runs}), len({run.pool for run in runs})
    few = " (few: only large differences can be shown)" if seeds < _FEW else ""
    return f"{model}: {len(runs)} runs of {steps} steps, {_counted(pools, 'pool')}, {_counted(seeds, 'seed')}{few}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def table(found: Sequence[Line], against: str, model: str) -> str:
    """All lines in Markdown, each with the name of the model that was trained."""
    rows = [
        f"| model | test | share | method | WER by seed, % | mean | hours | minus {against}, points (95 %) | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        each = " ".join(f"{100 * rate:.1f}" for rate in one.rates)
        gap = "" if one.difference is None else _points(one.difference)
        rows.append(
            f"| {model} | {one.test} | {one.budget:g} | {one.method} | {each} | {100 * one.rate:.1f} | {one.hours:.2f} "
            f"| {gap} | {one.verdict(against)} |"
        )
    return "\n".join(rows)


def not_better(found: Sequence[Line], against: str) -> list[str]:
    """A sentence for each comparison in which the method was not shown to be better."""
    return [
        f"{one.test} at {one.budget:g}: not shown to be better than {one.method}"
        for one in found
        if one.method != against and not one.verdict(against).endswith("better")
    ]


def draw(found: Sequence[Line], path: Path, title: str) -> None:
    """Plot a panel per test and budget, with a line per method and a dot per seed, under the `title` (`caption`).

    Raises `OutputError`.
    """
    panels = list(dict.fromkeys((one.test, one.budget) for one in found))
    if not panels:
        return
    figure = new_figure(9.0, 1.4 + 3.2 * len(panels), title.replace(": ", "\n", 1))  # the model has its own line
    for place, (test, budget) in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, place + 1)
        own = [one for one in found if (one.test, one.budget) == (test, budget)][::-1]
        for height, one in enumerate(own):
            rates = [100 * rate for rate in one.rates]
            axes.plot(rates, [height] * len(rates), "o", color=COLORS[0], alpha=0.4, markersize=5)
            axes.plot([100 * one.rate], [height], "|", color=COLORS[1], markersize=14, markeredgewidth=2.5)
        axes.set_yticks(range(len(own)), [one.method for one in own])
        axes.set_xlabel("WER, %: dots are seeds, the bar their mean")
        plain_axes(axes, f"{test}, {budget:.0%} of the hours")
    save_figure(figure, path)


def _points(ratio: Ratio) -> str:
    low, high = 100 * ratio.interval.low, 100 * ratio.interval.high
    return f"{100 * ratio.value:+.1f} ({low:+.1f} to {high:+.1f})"
