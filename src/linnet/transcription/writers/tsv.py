"""A table of start and end in milliseconds, and text."""

from __future__ import annotations

from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import milliseconds


class TsvWriter:
    """One row per segment under a header; whitespace in a text, including tabs and line ends, becomes one space."""

    extension = "tsv"

    def render(self, transcript: Transcript) -> str:
        """The header `start`, `end`, `text` and the rows; times are integer milliseconds."""
        rows = (
            f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{' '.join(segment.text.split())}\n"
            for segment in transcript.segments
        )
        return "start\tend\ttext\n" + "".join(rows)
