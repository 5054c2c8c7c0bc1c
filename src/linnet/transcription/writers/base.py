"""The interface of transcript formats, and helpers shared by several formats."""

from __future__ import annotations

from typing import Protocol

from linnet.transcription.subtitles import Cue
from linnet.transcription.transcript import Segment, Transcript


class Writer(Protocol):
    """One transcript format."""

    @property
    def extension(self) -> str:
        """The file extension without the dot; also the name of the format on the command line."""
        ...

    def render(self, transcript: Transcript) -> str:
        """The content of a valid file, also for a transcript without segments."""
        ...


def milliseconds(seconds: float) -> int:
    """Seconds as whole milliseconds, half to even, never below zero.

    >>> milliseconds(59.9996)
    60000
    """
    return max(0, round(seconds * 1000))


def clock(seconds: float, mark: str) -> str:
    """Seconds as `HH:MM:SS` + `mark` + milliseconds; rounded first, so that the carry is right.

    >>> clock(59.9996, ",")
    '00:01:00,000'
    """
    whole, thousandths = divmod(milliseconds(seconds), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}{mark}{thousandths:03d}"


def lines(segment: Segment) -> list[str]:
    """The segment's lines of text, stripped and without blank lines, which would end a subtitle."""
    return [line for part in segment.text.splitlines() if (line := part.strip())]


def cue_times(cue: Cue, mark: str) -> str:
    """`start --> end` of a subtitle; the end never lies before the start."""
    return f"{clock(cue.start, mark)} --> {clock(max(cue.start, cue.end), mark)}"
