"""An evaluation as a self-contained HTML page: scores, error tables, the worst utterances with their audio.

The template is `page/report.html` with `page/report.css` and `page/report.js`, on the base of `linnet.pages`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from linnet.evaluation.clips import ReadAudio, embed
from linnet.evaluation.errors import Analysis, Step, analyze
from linnet.evaluation.errors.analysis import AnalysisLimits
from linnet.evaluation.errors.result import Worst
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.report import Summary
from linnet.files import write_atomic
from linnet.pages.media import AudioClip
from linnet.pages.page import render_page

_EDGE = 6  # right words shown at either end of a longer run of them
_MOST_STEPS = 400  # words shown of one alignment


@dataclass(frozen=True)
class PageOptions:
    """What a page shows: its title, the number of worst utterances, and how much audio.

    `audio_megabytes` limits all clips together; 0 embeds none. `read` returns a row's samples where they are not simply
    in the file `audio`.
    """

    title: str = "Evaluation"
    worst: int = 50
    audio_megabytes: float = 10.0
    audio_seconds: float = 60.0
    read: ReadAudio | None = None


def write_report(
    path: str | os.PathLike[str],
    rows: Iterable[ScoredRow],
    summary: Summary,
    options: PageOptions | None = None,
) -> Analysis:
    """Analyze scored rows and write the page atomically; returns the analysis. Raises `OutputError`."""
    options = options or PageOptions()
    analysis = analyze(rows, AnalysisLimits(worst=options.worst))
    write_atomic(path, render(analysis, summary, options))
    return analysis


def render(analysis: Analysis, summary: Summary, options: PageOptions | None = None) -> str:
    """The page as HTML."""
    options = options or PageOptions()
    utterances = list(_utterances(analysis, options))
    values = {
        "title": options.title,
        "summary": summary,
        "analysis": analysis,
        "utterances": utterances,
        "kind_names": {kind.key: kind.group.name for kind in analysis.kinds},
        "clips": sum(one.clip.address is not None for one in utterances),
        "clip_bytes": sum(len(one.clip.address or "") for one in utterances),
        "clip_limit": 1e6 * options.audio_megabytes,
        "details": dict(_flat(summary.made_with)),
        "sessions": [dict(_flat(session)) for session in summary.sessions],
    }
    return render_page("linnet.evaluation", "report", values, media=("media",))


class Gap(NamedTuple):
    """A part of an alignment that is not shown."""

    words: int
    errors: int
    kind: str = "gap"


@dataclass(frozen=True)
class UtteranceView:
    """One of the worst utterances as the template needs it."""

    worst: Worst
    pieces: list[Step | Gap]
    direction: str
    clip: AudioClip


def _utterances(analysis: Analysis, options: PageOptions) -> Iterator[UtteranceView]:
    worst = analysis.worst.rows
    clips: Iterable[AudioClip] = (
        embed(
            [one.aligned.row for one in worst],
            limit=int(options.audio_megabytes * 1e6),
            seconds=options.audio_seconds,
            read=options.read,
        )
        if options.audio_megabytes > 0
        else [AudioClip()] * len(worst)
    )
    for one, clip in zip(worst, clips, strict=True):
        words = one.aligned.reference or one.aligned.hypothesis
        yield UtteranceView(one, pieces(one.aligned.steps()), direction(" ".join(words)), clip)


def pieces(steps: Iterable[Step]) -> list[Step | Gap]:
    """An alignment of readable length: long runs of right words, and everything after 400 steps, become gaps."""
    shown: list[Step | Gap] = []
    run: list[Step] = []
    everything = list(steps)
    for step in everything[:_MOST_STEPS]:
        if step.kind == "equal":
            run.append(step)
        else:
            shown += [*_folded(run), step]
            run = []
    shown += _folded(run)
    if rest := everything[_MOST_STEPS:]:
        shown.append(Gap(len(rest), sum(step.kind != "equal" for step in rest)))
    return shown


def _folded(run: list[Step]) -> list[Step | Gap]:
    hidden = len(run) - 2 * _EDGE
    if hidden < _EDGE:
        return [*run]
    return [*run[:_EDGE], Gap(hidden, 0), *run[-_EDGE:]]


def direction(text: str) -> str:
    """The text direction, rtl or ltr, of the first strong character (Unicode Standard Annex 9, rules P2 and P3).

    >>> direction("12 שלום")
    'rtl'
    """
    for char in text:
        found = unicodedata.bidirectional(char)
        if found in ("L", "R", "AL"):
            return "ltr" if found == "L" else "rtl"
    return "ltr"


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as pairs of name and value."""
    for key, value in data.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, "none" if value is None else str(value)
