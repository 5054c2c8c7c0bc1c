"""Sentence boundaries: closing marks, spurious full stops at window ends, and paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from linnet.transcription.transcript import Segment

CLOSING = "\"'”’»)]」』"  # may follow the closing mark of a sentence
SEAM = 1.0  # seconds: before a longer pause, a full stop may be correct
PAUSE, LONG_PAUSE = 1.5, 4.0  # seconds: a pause that starts a paragraph after a sentence, and anywhere
LONG_PARAGRAPH = 600  # characters after which a paragraph ends at the next sentence

_ENDS = ".?!…。？！"


def ends_sentence(text: str) -> bool:
    """Whether the last mark of the text closes a sentence.

    >>> ends_sentence('He said "no."'), ends_sentence("and then,")
    (True, False)
    """
    mark = text.rstrip().rstrip(CLOSING)[-1:]
    return bool(mark) and mark in _ENDS


def without_invented_stops(segments: Sequence[Segment]) -> Iterator[Segment]:
    """The segments in order, without full stops inside sentences.

    At the end of a window, a model often writes a full stop, since it cannot see what follows; if the next segment
    begins immediately with a lower-case letter, the full stop is removed. Those of abbreviations (`U.S.`) and ellipses
    are kept.
    """
    for place, one in enumerate(segments):
        following = segments[place + 1] if place + 1 < len(segments) else None
        invented = following is not None and following.start - one.end <= SEAM and _goes_on(one.text, following.text)
        yield _without_stop(one) if invented else one


def _goes_on(text: str, following: str) -> bool:
    last = text.rstrip().rpartition(" ")[2]
    return last.endswith(".") and "." not in last[:-1] and len(last) > 1 and following.lstrip()[:1].islower()


def _without_stop(segment: Segment) -> Segment:
    words = segment.words
    if words:
        words = (*words[:-1], replace(words[-1], word=words[-1].word.rstrip().removesuffix(".")))
    return replace(segment, text=segment.text.rstrip().removesuffix("."), words=words)


def paragraphs(segments: Sequence[Segment]) -> Iterator[str]:
    """The text as paragraphs, one per line.

    A new one begins after a sentence followed by a pause of 1.5 s or reaching 600 characters, and at any pause of 4 s
    or change of language.
    """
    parts: list[str] = []
    last: Segment | None = None
    for one in segments:
        text = " ".join(one.text.split())
        if not text:
            continue
        if last is not None and _breaks(last, one, len(" ".join(parts))):
            yield " ".join(parts)
            parts = []
        parts.append(text)
        last = one
    if parts:
        yield " ".join(parts)


def _breaks(last: Segment, following: Segment, length: int) -> bool:
    pause = following.start - last.end
    if pause >= LONG_PAUSE or last.language != following.language:
        return True
    return ends_sentence(last.text) and (pause >= PAUSE or length >= LONG_PARAGRAPH)
