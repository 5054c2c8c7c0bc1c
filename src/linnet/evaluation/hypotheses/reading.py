"""Reading hypotheses from a file of any known format."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from linnet.data.sources.base import Problem
from linnet.errors import OptionError
from linnet.evaluation.hypotheses import ctm, rows, text
from linnet.evaluation.hypotheses.detect import detect
from linnet.evaluation.hypotheses.types import HypothesisFile, UtteranceHypothesis
from linnet.evaluation.pace import paced
from linnet.notices import Notify
from linnet.settings import unknown

Reader = Callable[[HypothesisFile], Iterator[UtteranceHypothesis | Problem]]

KINDS: dict[str, Reader] = {
    "jsonl": rows.read_jsonl,
    "evaluation": rows.read_evaluation,
    "leaderboard": rows.read_leaderboard,
    "segments": rows.read_segments,
    "ctm": ctm.read_ctm,
    "trn": text.read_trn,
    "kaldi": text.read_kaldi,
    "lines": text.read_lines_in_order,
}


def _say_nothing(text: str) -> None:
    """Ignore a notice."""


def read_hypotheses(
    path: str | os.PathLike[str],
    kind: str | None = None,
    *,
    known: Collection[str] | None = None,
    notify: Notify = _say_nothing,
) -> HypothesisFile:
    """Read the transcripts of a system.

    Formats: `jsonl` (the hypothesis under `hypothesis`, `pred_text` or `text`; the name under `id`, `utt_id`,
    `audio_filepath` or `audio`), `evaluation` (rows of `linnet evaluate --output`), `leaderboard` (rows
    `audio_filepath, duration, time, text, pred_text`), `segments` (`linnet transcribe --format jsonl`, joined), `ctm`
    (NIST: waveform, channel, start, duration, word, confidence), `trn` (sclite: the text, then the id in parentheses),
    `kaldi` (the id, a blank or a tab, the text), `lines` (one per line, in the order of the references). By default the
    format is detected; `known`, the references' ids, distinguishes `kaldi` from `lines`. `notify` receives progress on
    large files.

    Rows without a hypothesis are counted and named in the result.

    Raises:
        OptionError: the file cannot be read, is of an unknown format, holds no hypothesis, or is not UTF-8.
    """
    place = Path(path)
    if place.is_dir() or not place.exists():
        raise OptionError(
            f"{place}: expected a file of hypotheses, found {'a folder' if place.is_dir() else 'nothing'}"
        )
    if kind is not None and kind not in KINDS:
        raise OptionError(unknown("kind of hypotheses", kind, KINDS))
    found, looks = (kind, "as requested") if kind is not None else detect(place, known)
    hypotheses = HypothesisFile(place, found, looks)
    hypotheses.take(paced(KINDS[found](hypotheses), notify, "of hypotheses read"))
    if not hypotheses.rows and not hypotheses.failed.count:
        first = f": {hypotheses.bad.first[0]}" if hypotheses.bad.first else ""
        raise OptionError(f"{place}: holds no hypothesis, read as {found} ({looks}){first}")
    return hypotheses
