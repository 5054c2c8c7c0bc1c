"""Plain text."""

from __future__ import annotations

from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import lines


class TextWriter:
    """One line of text for each segment; nothing at all where nothing was said."""

    extension = "txt"

    def render(self, transcript: Transcript) -> str:
        """The segments' texts, one a line."""
        texts = (" ".join(lines(segment)) for segment in transcript.segments)
        return "".join(f"{text}\n" for text in texts if text)
