"""The summary of an evaluation, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from linnet.evaluation.log import ScoredRow
from linnet.evaluation.rows import score_rows
from linnet.evaluation.streams.report import StreamSummary
from linnet.scoring.bootstrap import Interval, bootstrap_interval
from linnet.scoring.clusters import choose_clusters
from linnet.scoring.scores import Score


@dataclass(frozen=True)
class Summary:
    """The corpus WER of the scored utterances, its confidence interval, and how it was measured.

    `score` also holds the character error rate and the words hallucinated on silence. `failed` utterances count neither
    in the scores nor in the times; `without_text` had no reference.
    """

    wer: float | None  # errors / words; None: no reference words
    interval: Interval | None
    score: Score
    words: int
    substitutions: int
    deletions: int
    insertions: int
    utterances: int
    failed: int
    without_text: int
    audio_seconds: float
    work_seconds: float
    normalizers: Mapping[str, int]  # id with hash -> utterances
    made_with: Mapping[str, Any]
    sessions: Sequence[Mapping[str, Any]]
    stream: StreamSummary | None = None  # of live recognition

    @property
    def rtfx(self) -> float | None:
        """Seconds of audio per second of computation, without model loading."""
        return self.audio_seconds / self.work_seconds if self.work_seconds > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {**asdict(self), "score": self.score.to_dict(), "rtfx": self.rtfx}
        data["stream"] = None if self.stream is None else self.stream.to_dict()
        return data

    def lines(self) -> list[tuple[str, str]]:
        """Names and values for a small table."""
        lines = [
            ("WER", self._rate()),
            ("errors", f"{self.substitutions} substituted, {self.deletions} deleted, {self.insertions} inserted"),
            ("words", f"{self.words}"),
            ("CER", "not defined" if self.score.cer is None else f"{self.score.cer:.2%}"),
            ("utterances", self._utterances()),
            *([("words on silence", str(self.score.silence))] if self.score.silence.utterances else []),
            ("RTFx", f"{self.rtfx:.1f} ({_seconds(self.audio_seconds)} in {_seconds(self.work_seconds)})")
            if self.rtfx is not None
            else ("RTFx", "not measured"),
            *([] if self.stream is None else self.stream.lines()),
            ("protocol", f"{self.score.protocol} ({self.score.scorer})"),
            ("normalizer", ", ".join(f"{name} ({count})" for name, count in self.normalizers.items()) or "none used"),
            ("model", self._model()),
        ]
        for key, label in (("machine", "machine"), ("engine", "engine"), ("batch_size", "batch size")):
            values = dict.fromkeys(str(session[key]) for session in self.sessions if key in session)
            if values:
                lines.append((label, ", ".join(values)))
        return lines

    def _model(self) -> str:
        known = [str(self.made_with.get(key)) for key in ("revision", "dtype")]
        known = [value for value in known if value not in ("None", "unknown")]
        return f"{self.made_with.get('model')}" + (f" ({', '.join(known)})" if known else "")

    def _rate(self) -> str:
        if self.wer is None:
            return "not defined: the references have no words"
        if self.interval is None:
            return f"{self.wer:.2%} (too few utterances for an interval)"
        return f"{self.wer:.2%} ({self.interval})"

    def _utterances(self) -> str:
        text = f"{self.utterances} scored"
        if self.failed:
            text += f", {self.failed} FAILED (not scored, not in the WER)"
        if self.without_text:
            text += f", {self.without_text} without a reference (skipped)"
        return text


def summarize(
    rows: Iterable[ScoredRow],
    *,
    made_with: Mapping[str, Any],
    sessions: Sequence[Mapping[str, Any]],
    without_text: int = 0,
    seed: int = 0,
    stream: StreamSummary | None = None,
) -> Summary:
    """Summarize rows; `seed` is that of the interval's bootstrap, `stream` the figures of live recognition."""
    rows = sorted(rows, key=lambda row: row.row)
    scored = [row for row in rows if row.error is None]
    score = score_rows(scored)
    counts = score.words
    interval = bootstrap_interval(
        [row.counts.errors for row in scored],
        [row.words for row in scored],
        clusters=choose_clusters(scored),
        seed=seed,
    )
    return Summary(
        wer=counts.rate,
        interval=interval,
        score=score,
        words=counts.words,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        utterances=len(scored),
        failed=len(rows) - len(scored),
        without_text=without_text,
        audio_seconds=sum(row.duration for row in scored),
        work_seconds=sum(row.seconds for row in scored),
        normalizers=dict(Counter(row.normalizer or "none" for row in scored)),
        made_with=made_with,
        sessions=sessions,
        stream=stream,
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
