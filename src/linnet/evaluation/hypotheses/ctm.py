"""NIST's CTM format: one word per line, `waveform channel start duration word [confidence]`.

Comments begin with `;;`. Alternatives stand between lines whose word is <ALT_BEGIN>, <ALT> and <ALT_END>, with `*` for
times; `@` is not a word. (SCTK, doc/infmts)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from linnet.data.fields import BadRow
from linnet.data.sources.base import Problem
from linnet.data.sources.lines import read_lines
from linnet.evaluation.hypotheses.rows import check_utf8
from linnet.evaluation.hypotheses.text import COMMENT
from linnet.evaluation.hypotheses.types import HypothesisFile, UtteranceHypothesis
from linnet.transcription.transcript import Word

_NO_WORD = "@"
_ALTERNATIVES = ("<ALT_BEGIN>", "<ALT>", "<ALT_END>")


def read_ctm(into: HypothesisFile) -> Iterator[UtteranceHypothesis | Problem]:
    """One hypothesis per waveform, its words in order of their starts.

    A waveform with words on two channels yields two hypotheses, `waveform-channel`. The first alternative counts
    (sclite takes the best match).
    """
    spoken: dict[str, dict[str, list[Word]]] = {}
    others = False  # whether further alternatives follow
    for number, line in read_lines(into.path):
        columns = check_utf8(into.path, number, line).split()
        if columns[0].startswith(COMMENT):
            continue
        if len(columns) < 5:
            yield Problem(f"line {number}", f"expected waveform, channel, start, duration and word, got {len(columns)}")
            continue
        waveform, channel, word = columns[0], columns[1], columns[4]
        words = spoken.setdefault(waveform, {}).setdefault(channel, [])
        if word.upper() in _ALTERNATIVES:
            others = word.upper() == "<ALT>"
            into.alternatives += others
        elif not others and word != _NO_WORD:
            try:
                words.append(_word(word, columns))
            except BadRow as error:
                yield Problem(f"line {number}", str(error))
    for waveform, channels in spoken.items():
        for channel, words in channels.items():
            words.sort(key=lambda word: word.start)
            name = waveform if len(channels) == 1 else f"{waveform}-{channel}"
            yield UtteranceHypothesis(name, " ".join(word.word for word in words), tuple(words))


def is_ctm_line(columns: list[str]) -> bool:
    """Whether a line looks like CTM: five or more columns, times with a decimal point in the third and fourth.

    >>> is_ctm_line("a 1 0.25 0.5 word".split()), is_ctm_line("3 1 4 1 5".split())
    (True, False)
    """
    if len(columns) < 5:
        return False
    times = columns[2:4]
    if columns[4].upper() in _ALTERNATIVES:
        return times == ["*", "*"]
    return any("." in time for time in times) and all(time.replace(".", "", 1).isdecimal() for time in times)


def _word(text: str, columns: list[str]) -> Word:
    try:
        start, duration = float(columns[2]), float(columns[3])
        confidence = float(columns[5]) if len(columns) > 5 and columns[5] not in ("NA", "-") else None
    except ValueError as error:
        raise BadRow(f"start, duration and confidence must be numbers ({error})") from error
    if not (math.isfinite(start) and math.isfinite(duration) and start >= 0 and duration >= 0):
        raise BadRow(f"start and duration must be seconds, zero or more, got {columns[2]} and {columns[3]}")
    return Word(text, start, start + duration, confidence)
