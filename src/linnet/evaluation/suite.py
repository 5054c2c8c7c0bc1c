"""The results of a suite: a line per set, an average per table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linnet.data.suites import SuiteSet
from linnet.evaluation.report import Summary
from linnet.scoring.scores import mean_over_sets, set_rate


@dataclass(frozen=True)
class SetResult:
    """The result of one set: its summary, or the reason why there is none."""

    set: SuiteSet
    summary: Summary | None = None
    reason: str | None = None

    @property
    def rate(self) -> float | None:
        """The WER in percent, rounded to two decimals as on the leaderboard; None where undefined."""
        if self.summary is None or self.summary.wer is None:
            return None
        return set_rate(self.summary.score)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {"set": self.set.name, "table": self.set.table, "wer": self.rate, "reason": self.reason}
        return data if self.summary is None else {**data, "summary": self.summary.to_dict()}


@dataclass(frozen=True)
class Average:
    """The mean WER of a table's sets, weighted as the suite says, without its `missing` sets.

    `rtfx` is total audio over total computation, not a mean.
    """

    table: str
    rate: float | None
    rtfx: float | None
    sets: int
    missing: int


def averages(results: Sequence[SetResult]) -> list[Average]:
    """One average per table, in order; with equal weights the leaderboard's unweighted mean to two decimals.

    An average with missing sets covers the others only and is not comparable with a complete one.
    """
    found = []
    for table in dict.fromkeys(result.set.table for result in results):
        own = [result for result in results if result.set.table == table]
        rates = [(result.rate, result.set.weight) for result in own if result.rate is not None]
        mean = mean_over_sets([rate for rate, _ in rates], [weight for _, weight in rates])
        timed = [result.summary for result in own if result.summary is not None]
        work = sum(summary.work_seconds for summary in timed)
        audio = sum(summary.audio_seconds for summary in timed)
        found.append(Average(table, mean, audio / work if work else None, len(rates), len(own) - len(rates)))
    return found


def suite_rows(results: Sequence[SetResult]) -> list[tuple[str, ...]]:
    """Headings, then set, WER, interval, RTFx and a remark, then each table's average."""
    rows: list[tuple[str, ...]] = [("set", "WER %", "95 % interval", "RTFx", "")]
    for result in results:
        one = result.summary
        if one is None:
            rows.append((result.set.name, "-", "", "", "skipped"))
            continue
        interval = "" if one.interval is None else f"{100 * one.interval.low:.2f} to {100 * one.interval.high:.2f}"
        remarks = [f"{one.failed} FAILED"] * bool(one.failed) + [f"unverified: {result.set.unverified}"] * bool(
            result.set.unverified
        )
        rows.append((result.set.name, _number(result.rate), interval, _number(one.rtfx), "; ".join(remarks)))
    for mean in averages(results):
        remark = f"of {mean.sets} sets" + (f", {mean.missing} MISSING" if mean.missing else "")
        rows.append((f"average of {mean.table}", _number(mean.rate), "", _number(mean.rtfx), remark))
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
