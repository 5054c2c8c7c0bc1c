"""Plain text."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.transcription.sentences import paragraphs
from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import lines


@dataclass(frozen=True)
class TextWriter:
    """One line of text for each segment, or `paragraphs` with a blank line between; nothing where nothing was said."""

    paragraphs: bool = False

    extension = "txt"

    def render(self, transcript: Transcript) -> str:
        """The segments' texts, one a line, or run on."""
        if self.paragraphs:
            return "\n\n".join(paragraphs(transcript.segments)) + "\n" * bool(transcript.text)
        texts = (" ".join(lines(segment)) for segment in transcript.segments)
        return "".join(f"{text}\n" for text in texts if text)
