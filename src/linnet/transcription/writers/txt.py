"""Plain text."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.transcription.sentences import paragraphs
from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import lines


@dataclass(frozen=True)
class TextWriter:
    """One line of text per segment, or `paragraphs` separated by blank lines; empty without text."""

    paragraphs: bool = False

    extension = "txt"

    def render(self, transcript: Transcript) -> str:
        """The segments' texts, one per line, or as paragraphs."""
        if self.paragraphs:
            return "\n\n".join(paragraphs(transcript.segments)) + "\n" * bool(transcript.text)
        texts = (" ".join(lines(segment)) for segment in transcript.segments)
        return "".join(f"{text}\n" for text in texts if text)
