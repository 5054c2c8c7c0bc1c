"""Where sentences end: the marks that close one, full stops that windows invent, and paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from linnet.transcription.transcript import Segment

CLOSING = "\"'”’»)]」』"  # may follow the mark that ends a sentence
SEAM = 1.0  # seconds: after a longer pause a full stop may well be meant
PAUSE, LONG_PAUSE = 1.5, 4.0  # seconds: worth a paragraph after a sentence; worth one anywhere
LONG_PARAGRAPH = 600  # characters: from here on any sentence's end will do

_ENDS = ".?!…。？！"


def ends_sentence(text: str) -> bool:
    """Whether the text's last mark closes a sentence.

    >>> ends_sentence('He said "no."'), ends_sentence("and then,")
    (True, False)
    """
    mark = text.rstrip().rstrip(CLOSING)[-1:]
    return bool(mark) and mark in _ENDS


def without_invented_stops(segments: Sequence[Segment]) -> Iterator[Segment]:
    """The segments in order, without full stops after which the sentence goes on.

    Where a window ends, a model that cannot see what follows often writes a full stop; a next segment that begins with
    a small letter at once shows that it was none. Stops of abbreviations (`U.S.`) and of ellipses stay.
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
    """The text as paragraphs, each one line.

    A new one begins after a sentence that a pause of 1.5 s follows, or that fills 600 characters; and at any pause of
    4 s or change of language.
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
