"""The table of policies that `stream.py` prints: each system beside offline and beside `commit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet.evaluation.log import ScoredRow
from linnet.evaluation.report import Summary, summarize
from linnet.evaluation.streams.report import summarize_streams
from linnet.evaluation.streams.trace import StreamTrace
from linnet.scoring.bootstrap import bootstrap_ratio
from linnet.scoring.clusters import choose_clusters
from linnet.scoring.latency import Units, word_lags
from linnet.scoring.quantiles import quantile_interval
from linnet.text.normalizers import Normalizers

NORMALIZERS = Normalizers("english")
Row = dict[str, Any]


def print_policies(rows: Sequence[Row]) -> None:
    """A table for each model and set; differences are beside offline (WER) and beside commit (lag)."""
    for model, name in dict.fromkeys((row["model"], row["set"]) for row in rows):
        own = [row for row in rows if (row["model"], row["set"]) == (model, name)]
        systems = {one: rows_of(own, one) for one in dict.fromkeys(row["system"] for row in own)}
        print(
            f"\n| {model}, {name} | speakers, words | WER % | beside offline | lag p50 | p95 | beside commit p50, p95 "
            "| wall p50, p95 | first text | RWER, ARWER % | erased per word | ms a chunk p95 | load |"
        )
        print("|---" * 13 + "|")
        for system, found in systems.items():
            print(f"| {system} | {cells(systems, system, found)} |", flush=True)


def rows_of(rows: Sequence[Row], system: str) -> list[ScoredRow]:
    """The scored rows of a system, by speaker."""
    names = ScoredRow.__dataclass_fields__
    own = [{key: value for key, value in row.items() if key in names} for row in rows if row["system"] == system]
    return sorted((ScoredRow(**row) for row in own), key=lambda row: row.id)


def cells(systems: dict[str, list[ScoredRow]], system: str, rows: Sequence[ScoredRow]) -> str:
    """The cells of one system."""
    summary = summary_of(rows)
    interval = summary.interval
    wer = f"{100 * (summary.wer or 0):.2f}"
    wer += f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval is not None else ""
    found = [f"{len(rows)}, {summary.words}", wer, beside_offline(systems.get("offline", []), rows)]
    stream = summary.stream
    if stream is None or stream.audio.commit_lag is None or stream.wall.commit_lag is None:
        return " | ".join([*found, *[""] * 9, f"{summary.work_seconds / summary.audio_seconds:.2f}"])
    for value, ends in (
        (stream.audio.commit_lag.p50, stream.audio.commit_p50_interval),
        (stream.audio.commit_lag.p95, stream.audio.commit_p95_interval),
    ):
        found.append(f"{value:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else ""))
    found.append("" if system == "commit" else beside_commit(systems.get("commit", []), rows))
    found.append(f"{stream.wall.commit_lag.p50:.2f}, {stream.wall.commit_lag.p95:.2f}")
    first = stream.audio.first_text
    found.append("" if first is None else f"{first.p50:.2f}")
    found.append(f"{100 * (stream.audio.prefix_wer or 0):.1f}, {100 * (stream.wall.prefix_wer or 0):.1f}")
    found.append(f"{stream.normalized_erasure or 0:.3f}")
    found.append("" if stream.pace is None else f"{1000 * stream.pace.p95:.0f}")
    return " | ".join([*found, f"{stream.load:.2f}"])


def summary_of(rows: Sequence[ScoredRow]) -> Summary:
    """The summary of a system's rows."""
    return summarize(rows, made_with={}, sessions=[], stream=summarize_streams(rows, NORMALIZERS))


def paired(one: Sequence[ScoredRow], other: Sequence[ScoredRow]) -> list[tuple[ScoredRow, ScoredRow]]:
    """Rows of the same streams."""
    known = {row.id: row for row in other}
    return [(row, known[row.id]) for row in one if row.id in known]


def beside_offline(offline: Sequence[ScoredRow], rows: Sequence[ScoredRow]) -> str:
    """The difference of both WERs in points, with its interval over speakers."""
    pairs = paired(rows, offline)
    if len(pairs) < 2 or rows[0].stream is None:
        return ""
    difference = bootstrap_ratio(
        [a.counts.errors - b.counts.errors for a, b in pairs],
        [a.words for a, _ in pairs],
        clusters=choose_clusters([a for a, _ in pairs]),
    )
    if difference is None:
        return ""
    interval = difference.interval
    return f"{100 * difference.value:+.2f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def beside_commit(commit: Sequence[ScoredRow], rows: Sequence[ScoredRow]) -> str:
    """The differences of the lags' quantiles in seconds, with intervals over speakers."""
    pairs = paired(rows, commit)
    if len(pairs) < 2:
        return ""
    own, other = (lags([pair[side] for pair in pairs]) for side in (0, 1))
    texts = []
    for q in (0.5, 0.95):
        value = np.quantile(np.concatenate(own), q) - np.quantile(np.concatenate(other), q)
        low, high = quantile_interval(own, q, others=other) or (np.nan, np.nan)
        texts.append(f"{value:+.2f} ({low:+.2f} to {high:+.2f})")
    return ", ".join(texts)


def lags(rows: Sequence[ScoredRow]) -> list[list[float]]:
    """The commit lags of each stream on the audio clock."""
    units = Units(NORMALIZERS.function("en"))
    traces = [StreamTrace.from_dict(row.stream or {}) for row in rows]
    return [
        [one.committed_audio for one in word_lags(units.spoken(trace.reference or ()), units.shown(trace.shown))]
        for trace in traces
    ]
