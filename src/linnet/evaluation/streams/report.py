"""The figures of live recognition over the streams of an evaluation, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linnet.evaluation.log import ScoredRow
from linnet.evaluation.streams.trace import StreamTrace
from linnet.scoring.clusters import choose_clusters
from linnet.scoring.latency import (
    CLOCKS,
    Clock,
    DisplayUpdate,
    Pace,
    PrefixErrors,
    Quantiles,
    SpokenWord,
    Units,
    WordLag,
    average_lagging,
    erased,
    first_text,
    prefix_errors,
    word_lags,
)
from linnet.scoring.quantiles import quantile_interval
from linnet.scoring.scores import edits
from linnet.text.normalizers import Normalizers

Interval = tuple[float, float]
LONG = 60.0  # seconds of a stream whose start can be told from its end


@dataclass(frozen=True)
class ClockFigures:
    """What depends on a clock, in seconds; None where no stream has what it needs."""

    commit_lag: Quantiles | None  # from a word's end until it was final
    commit_p50_interval: Interval | None
    commit_p95_interval: Interval | None
    emission_lag: Quantiles | None  # until it was there to stay
    first_text: Quantiles | None  # from the start of the first word until any text
    laal: float | None  # mean over streams
    prefix_wer: float | None  # RWER on the audio clock, ARWER on the wall clock

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class StreamSummary:
    """Streams of an evaluation together; lags are of the words that were recognized and whose times are known."""

    streams: int
    timed: int  # streams with the times of their words
    words: int  # reference words with times
    lags: int  # of them recognized
    audio: ClockFigures
    wall: ClockFigures
    final_wer: float | None  # of the final text, words compared one by one as prefixes are
    erased: int
    final_words: int
    pace: Pace | None  # seconds of work for a chunk, of all streams one after another where they are alike
    busiest: float  # 95th percentile of the seconds from a chunk's arrival until it was worked through
    load: float  # seconds of work for a second of audio
    chunk: float  # seconds of audio
    counters: Mapping[str, float]

    @property
    def normalized_erasure(self) -> float | None:
        """Words taken back per final word."""
        return self.erased / self.final_words if self.final_words else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        flatness = None if self.pace is None else self.pace.flatness
        return {**asdict(self), "normalized_erasure": self.normalized_erasure, "flatness": flatness}

    def lines(self) -> list[tuple[str, str]]:
        """Names and values for a small table."""
        lines = [("streams", f"{self.streams}, in chunks of {self.chunk:g} s")]
        if not self.timed:
            lines.append(("lag", "not measured: no row has its words' times (key words, or --align)"))
        for clock, figures in zip(CLOCKS, (self.audio, self.wall), strict=True):
            lines += _clock_lines(clock, figures)
        if self.timed:
            lines.append(("words with a lag", f"{self.lags} of {self.words}"))
            lines.append(("final WER, word by word", _percent(self.final_wer)))
        erasure = "no words" if self.normalized_erasure is None else f"{self.normalized_erasure:.3f} per final word"
        lines.append(("erased words", f"{self.erased} ({erasure})"))
        if self.pace is not None:
            flat = "" if self.pace.flatness is None else f"; end of a stream over its start {self.pace.flatness:.2f}"
            lines.append(("ms per chunk", f"p50 {1000 * self.pace.p50:.1f}, p95 {1000 * self.pace.p95:.1f}{flat}"))
        lines.append(("behind, p95", f"{self.busiest:.2f} s; load {self.load:.1%} of real time"))
        lines += [(name.replace("_", " "), f"{value:g}") for name, value in self.counters.items()]
        return lines


def _clock_lines(clock: Clock, figures: ClockFigures) -> list[tuple[str, str]]:
    lines = []
    if figures.commit_lag is not None:
        lines.append((f"commit lag, {clock}", _spread(figures.commit_lag, figures.commit_p50_interval)))
    if figures.emission_lag is not None:
        lines.append((f"emission lag, {clock}", _spread(figures.emission_lag)))
    if figures.first_text is not None:
        lines.append((f"first text, {clock}", _spread(figures.first_text)))
    if figures.laal is not None:
        lines.append((f"LAAL, {clock}", f"{figures.laal:.2f} s"))
    if figures.prefix_wer is not None:
        name = "RWER" if clock == "audio" else "ARWER"
        lines.append((f"prefix WER, {clock}", f"{figures.prefix_wer:.2%} ({name})"))
    return lines


def _spread(found: Quantiles, p50: Interval | None = None) -> str:
    within = "" if p50 is None else f" ({p50[0]:.2f} to {p50[1]:.2f})"
    return f"p50 {found.p50:.2f}{within}, p95 {found.p95:.2f}, p99 {found.p99:.2f} s"


def _percent(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2%}"


@dataclass(frozen=True)
class _Measured:
    """One stream's figures."""

    trace: StreamTrace
    reference: list[SpokenWord]
    shown: list[DisplayUpdate]
    lags: list[WordLag]

    @classmethod
    def of(cls, trace: StreamTrace, normalize: Callable[[str], str]) -> _Measured:
        units = Units(normalize)
        reference, shown = units.spoken(trace.reference or ()), units.shown(trace.shown)
        return cls(trace, reference, shown, word_lags(reference, shown))

    @property
    def final(self) -> list[str]:
        return [word for change in self.shown for word in change.final]

    def values(self, kind: str, clock: Clock) -> list[float]:
        """Its `committed` or `emitted` lags."""
        return [getattr(lag, f"{kind}_{clock}") for lag in self.lags]

    def laal(self, clock: Clock) -> float | None:
        delays = [change.at(clock) for change in self.shown for _ in change.final]
        return average_lagging(delays, self.trace.duration, len(self.reference)) if self.reference else None


def summarize_streams(
    rows: Iterable[ScoredRow], normalizers: Normalizers, language: str | None = None
) -> StreamSummary | None:
    """The figures of the rows that hold a stream; None where none does.

    `language` is that of all rows where it was given to the evaluation.
    """
    scored = [row for row in rows if row.error is None and row.stream is not None]
    if not scored:
        return None
    traces = [StreamTrace.from_dict(row.stream or {}) for row in scored]
    measured = [
        _Measured.of(trace, normalizers.function(language or row.language))
        for row, trace in zip(scored, traces, strict=True)
    ]
    timed = [one for one in measured if one.trace.reference]
    clusters = choose_clusters(scored)
    groups: list[list[_Measured]] = [[] for _ in range(clusters.count)]
    for at, one in zip(clusters.index, measured, strict=True):
        groups[at].append(one)
    audio, wall = (_figures(timed, groups, clock) for clock in CLOCKS)
    counters: Counter[str] = Counter()
    for trace in traces:
        counters.update(trace.counters)
    seconds = sum(trace.duration for trace in traces)
    return StreamSummary(
        streams=len(traces),
        timed=len(timed),
        words=sum(word.sure for one in timed for word in one.reference),
        lags=sum(len(one.lags) for one in timed),
        audio=audio,
        wall=wall,
        final_wer=_final_wer(timed),
        erased=sum(erased(trace.shown) for trace in traces),
        final_words=sum(len(final) for trace in traces for _, final, _ in trace.changes),
        pace=_pace(traces),
        busiest=float(np.quantile([late for trace in traces for late in trace.behind], 0.95)),
        load=sum(sum(trace.compute) for trace in traces) / seconds if seconds else 0.0,
        chunk=traces[0].chunk,
        counters=dict(counters),
    )


def _figures(timed: Sequence[_Measured], groups: Sequence[Sequence[_Measured]], clock: Clock) -> ClockFigures:
    committed = [[lag for one in group for lag in one.values("committed", clock)] for group in groups]
    firsts = [first_text(one.reference, one.shown, clock) for one in timed]
    lagging = [laal for one in timed if (laal := one.laal(clock)) is not None]
    prefixes = [prefix_errors(one.reference, one.shown, one.trace.points, clock) for one in timed]
    total = PrefixErrors(sum(one.errors for one in prefixes), sum(one.words for one in prefixes))
    return ClockFigures(
        commit_lag=Quantiles.of(lag for group in committed for lag in group),
        commit_p50_interval=quantile_interval(committed, 0.5),
        commit_p95_interval=quantile_interval(committed, 0.95),
        emission_lag=Quantiles.of(lag for one in timed for lag in one.values("emitted", clock)),
        first_text=Quantiles.of(one for one in firsts if one is not None),
        laal=float(np.mean(lagging)) if lagging else None,
        prefix_wer=total.rate,
    )


def _final_wer(timed: Sequence[_Measured]) -> float | None:
    errors = sum(sum(edits([word.text for word in one.reference], one.final)) for one in timed)
    words = sum(len(one.reference) for one in timed)
    return errors / words if words else None


def _pace(traces: Sequence[StreamTrace]) -> Pace | None:
    """Chunks by their relative position in their stream, all streams together, without the work at the end."""
    placed = sorted(
        (number / max(1, len(trace.compute) - 1), stream, seconds)
        for stream, trace in enumerate(traces)
        for number, seconds in enumerate(trace.compute[:-1])
    )
    parts = 10 if min(trace.duration for trace in traces) >= LONG else 1
    return Pace.of([seconds for _, _, seconds in placed], parts)
