"""An evaluation as one HTML page that needs no network: scores, tables of errors, the worst utterances to listen to.

The page is `page/report.html` with `page/report.css` and `page/report.js`, on the base of `linnet.pages`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from linnet.evaluation.clips import ReadSound, embed
from linnet.evaluation.errors import Analysis, Step, analyze
from linnet.evaluation.errors.analysis import AnalysisLimits
from linnet.evaluation.errors.result import Worst
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.report import Summary
from linnet.files import write_atomic
from linnet.pages.media import AudioClip
from linnet.pages.page import render_page

_EDGE = 6  # right words shown on either side of a longer stretch of them
_MOST_STEPS = 400  # words of one alignment that are shown


@dataclass(frozen=True)
class PageOptions:
    """What a page shows: its title, how many utterances, and how much sound.

    `sound_megabytes`: of the page, for all sounds together; 0 for none. `read` answers with a row's samples where they
    are not simply in the file `audio`.
    """

    title: str = "Evaluation"
    worst: int = 50
    sound_megabytes: float = 10.0
    sound_seconds: float = 60.0
    read: ReadSound | None = None


def write_report(
    path: str | os.PathLike[str],
    rows: Iterable[ScoredRow],
    summary: Summary,
    options: PageOptions | None = None,
) -> Analysis:
    """Analyse scored rows, write the page whole or not at all, and answer with the analysis.

    Raises:
        OutputError: the page cannot be written there.
    """
    options = options or PageOptions()
    analysis = analyze(rows, AnalysisLimits(worst=options.worst))
    write_atomic(path, render(analysis, summary, options))
    return analysis


def render(analysis: Analysis, summary: Summary, options: PageOptions | None = None) -> str:
    """The page as a text."""
    options = options or PageOptions()
    utterances = list(_utterances(analysis, options))
    values = {
        "title": options.title,
        "summary": summary,
        "analysis": analysis,
        "utterances": utterances,
        "kind_names": {kind.key: kind.group.name for kind in analysis.kinds},
        "sounds": sum(one.clip.address is not None for one in utterances),
        "sound_bytes": sum(len(one.clip.address or "") for one in utterances),
        "sound_limit": 1e6 * options.sound_megabytes,
        "details": dict(_flat(summary.made_with)),
        "sessions": [dict(_flat(session)) for session in summary.sessions],
    }
    return render_page("linnet.evaluation", "report", values, media=("media",))


class Gap(NamedTuple):
    """A stretch of an alignment that is not shown."""

    words: int
    errors: int
    kind: str = "gap"


@dataclass(frozen=True)
class UtteranceView:
    """One of the worst utterances, ready to be shown."""

    worst: Worst
    pieces: list[Step | Gap]
    direction: str
    clip: AudioClip


def _utterances(analysis: Analysis, options: PageOptions) -> Iterator[UtteranceView]:
    worst = analysis.worst.rows
    clips: Iterable[AudioClip] = (
        embed(
            [one.aligned.row for one in worst],
            limit=int(options.sound_megabytes * 1e6),
            seconds=options.sound_seconds,
            read=options.read,
        )
        if options.sound_megabytes > 0
        else [AudioClip()] * len(worst)
    )
    for one, clip in zip(worst, clips, strict=True):
        words = one.aligned.said or one.aligned.heard
        yield UtteranceView(one, pieces(one.aligned.steps()), direction(" ".join(words)), clip)


def pieces(steps: Iterable[Step]) -> list[Step | Gap]:
    """An alignment of readable length: long stretches of right words, and what comes after 400 steps, become gaps."""
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
    """The direction of writing, rtl or ltr, of the first letter that has one (Unicode Standard Annex 9, rules P2, P3).

    >>> direction("12 שלום")
    'rtl'
    """
    for char in text:
        found = unicodedata.bidirectional(char)
        if found in ("L", "R", "AL"):
            return "ltr" if found == "L" else "rtl"
    return "ltr"


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as lines."""
    for key, value in data.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, "none" if value is None else str(value)
