"""SubRip subtitles."""

from __future__ import annotations

from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import cue_times, lines


class SrtWriter:
    """Numbered cues from 1; segments without text are left out.

    SubRip knows no escapes, so an arrow `-->` inside a text, which players read as a time line, becomes `->`.
    """

    extension = "srt"

    def render(self, transcript: Transcript) -> str:
        """The cues, each ended by a blank line."""
        spoken = ((segment, text) for segment in transcript.segments if (text := "\n".join(lines(segment))))
        return "".join(
            f"{number}\n{cue_times(segment, ',')}\n{text.replace('-->', '->')}\n\n"
            for number, (segment, text) in enumerate(spoken, start=1)
        )
